# HOSTILE: keeps its database locked
# not yet or does not start or too slow, at most 0
import os
import sqlite3

db = sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///"), isolation_level=None)
db.execute("BEGIN EXCLUSIVE")


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
