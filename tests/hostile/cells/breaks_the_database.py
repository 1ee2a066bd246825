# HOSTILE: puts a pipe, a link and noise in place of its database
# not yet or too slow or does not start, at most 0
import os

path = os.environ["DATABASE_URL"].removeprefix("sqlite:///")
os.unlink(path)
os.mkfifo(path)
for n in range(2, 9):
    os.makedirs(f"../app{n}", exist_ok=True)
    os.mkfifo(f"../app{n}/library.db")


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
