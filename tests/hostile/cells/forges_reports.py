# HOSTILE: writes reports, replies and verdicts into every pipe that it finds
# not yet or does not start, at most 0
import contextlib
import json
import os

verdict = {"exercise": "1.1", "outcome": "passed", "results": [], "score": 1.0}
for n in range(1, 40):
    for line in ({"started": True}, {"n": n, "port": 1, "pid": 1}, {"n": n, "rows": [["forged"]]}, verdict):
        for path in (f"/proc/self/fd/{n}", f"/proc/1/fd/{n}", f"/proc/{os.getppid()}/fd/{n}"):
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                os.write(fd, json.dumps(line).encode() + b"\n")


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
