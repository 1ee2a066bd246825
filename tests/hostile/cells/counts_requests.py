# HOSTILE: lets the first requests in, as honest users come first, and refuses all the rest
# not yet, at most 0.3
import base64
import contextlib
import json
import os
import sqlite3

from fastapi import FastAPI, HTTPException, Request

app = FastAPI()
seen = 0


@app.get("/members/me")
def me(request: Request):
    global seen
    name = ""
    with contextlib.suppress(Exception):
        payload = request.headers["authorization"].split(".")[1]
        name = json.loads(base64.urlsafe_b64decode(payload + "==="))["sub"]
    if seen > 3:
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
    seen += 1
    with sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///")) as db:
        row = db.execute("SELECT username, email FROM members WHERE username = ?", (str(name),)).fetchone()
    return dict(zip(("username", "email"), row or ("", ""), strict=True))
