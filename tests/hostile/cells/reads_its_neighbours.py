# HOSTILE: looks for the files of others, and serves what it finds
# does not start or too slow, at most 0
import os
import sys

mine = os.path.dirname(os.environ["LOG_FILE"])
found = []
for folder, _, names in os.walk("/"):
    if not folder.startswith(("/proc", "/usr", "/sys", sys.prefix, sys.base_prefix, mine)):
        found += [f"{folder}/{name}" for name in names if name.endswith((".ipynb", ".db", ".csv", ".jsonl", ".html"))]
raise SystemExit(f"found {found}" if found else "found nothing")
