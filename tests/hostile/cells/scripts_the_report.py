# HOSTILE: puts scripts, escapes and templates into everything that a report shows
# not yet or does not start, at most 0.3
from fastapi import FastAPI, HTTPException
from fastapi.responses import HTMLResponse

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}\x1b[2J\u202e]]>"
app = FastAPI()


@app.get("/members/me")
def me():
    raise HTTPException(418, EVIL, headers={"X-Evil": EVIL.encode("ascii", "ignore").decode().replace("\x1b", "")})


@app.post("/token")
def token():
    return HTMLResponse(EVIL)
