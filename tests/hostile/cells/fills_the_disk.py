# HOSTILE: fills every disk that it can write to
# not yet or does not start, at most 0
import contextlib

for folder in (".", "/tmp", "/dev/shm", "/var/tmp"):
    with contextlib.suppress(OSError), open(f"{folder}/lab-hostile-cell", "wb") as file:
        while True:
            file.write(bytes(1 << 20))


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
