"""Answers that never end: fast ones, slow ones, and one that opens into 256 MiB."""

import time
import zlib
from collections.abc import Iterator

from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse

app = FastAPI()
PACKER = zlib.compressobj(6)
BOMB = b"".join(PACKER.compress(bytes(1 << 20)) for _ in range(256)) + PACKER.flush()


def flood() -> Iterator[bytes]:
    while True:
        yield b"x" * 65536


def drips() -> Iterator[bytes]:
    while True:
        yield b"x"
        time.sleep(0.05)


@app.get("/flood")
def read_flood() -> StreamingResponse:
    return StreamingResponse(flood())


@app.get("/drips")
def read_drips() -> StreamingResponse:
    return StreamingResponse(drips())


@app.get("/bomb")
def read_bomb() -> Response:
    return Response(BOMB, headers={"content-encoding": "deflate"}, media_type="text/plain")


@app.get("/calm")
def read_calm(word: str = "") -> str:
    return "calm"
