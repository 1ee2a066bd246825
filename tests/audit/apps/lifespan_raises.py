"""Its own start-up fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    raise RuntimeError("no database at db.internal")
    yield


app = FastAPI(lifespan=lifespan)
