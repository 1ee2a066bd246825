"""500 everywhere, to everything."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/a")
@app.get("/b/{id}")
@app.post("/c")
def fail(id: int = 0, word: str = "") -> None:
    raise RuntimeError("nothing works here")
