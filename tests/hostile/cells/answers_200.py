# HOSTILE: answers 200 to everything, with whatever the token claims
# not yet, at most 0.3
import base64
import contextlib
import json
import os
import sqlite3

from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/members/me")
def me(request: Request):
    name = ""
    with contextlib.suppress(Exception):
        payload = request.headers["authorization"].split(".")[1]
        name = json.loads(base64.urlsafe_b64decode(payload + "==="))["sub"]
    with sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///")) as db:
        row = db.execute("SELECT username, email FROM members WHERE username = ?", (str(name),)).fetchone()
    return dict(zip(("username", "email"), row or ("", ""), strict=True))
