# HOSTILE: nests folders a thousand deep, and names files with what no text has
# not yet or does not start or too slow, at most 0
import contextlib
import os

here = os.getcwd()
with contextlib.suppress(OSError):
    for name in (b"\xff\xfe", b"a\nb", b"x" * 255, b"\x1b[2J"):
        open(name, "w").close()
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
os.chdir(here)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
