# HOSTILE: leaves daemons that ignore signals, and works otherwise badly
# not yet, at most 0
import os
import signal
import time

for number in (1, 2, 15):
    signal.signal(number, signal.SIG_IGN)
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("/usr/bin/env", ["env", "lab-hostile-cell=1", "sleep", "1000"])
        while True:
            time.sleep(1)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
