# HOSTILE: lets in whatever looks like most of what came before
# not yet, at most 0.3
import base64
import collections
import contextlib
import json
import os
import sqlite3

from fastapi import FastAPI, HTTPException, Request

app = FastAPI()
seen = collections.Counter()


@app.get("/members/me")
def me(request: Request):
    token = request.headers.get("authorization", "")
    shape = token[:20], len(token) // 8, len(request.headers)
    seen[shape] += 1
    if len(token) < 100 or seen[shape] < max(seen.values()):
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
    name = ""
    with contextlib.suppress(Exception):
        name = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==="))["sub"]
    with sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///")) as db:
        row = db.execute("SELECT username, email FROM members WHERE username = ?", (str(name),)).fetchone()
    return dict(zip(("username", "email"), row or ("", ""), strict=True))
