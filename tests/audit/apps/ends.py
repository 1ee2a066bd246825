"""Ends its own process at a request."""

import os

from fastapi import FastAPI

app = FastAPI()


@app.get("/end")
def end() -> None:
    os._exit(3)
