"""Takes its time to start, and then answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await asyncio.sleep(1.5)
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
def home() -> str:
    return "here"
