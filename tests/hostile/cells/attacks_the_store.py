# HOSTILE: writes itself full marks, wherever the store may be
# does not start, at most 0
import os
import sqlite3

for path in ("@OUT@/class.db", "@OUT@/grades.csv", "@OUT@/feedback/x.html"):
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        db = sqlite3.connect(path)
        db.execute("UPDATE verdicts SET verdict = (SELECT verdict FROM verdicts LIMIT 1)")
        db.commit()
    except (OSError, sqlite3.Error):
        pass
raise SystemExit("done")
