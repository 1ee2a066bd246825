"""Serves no document; beside its routes a sub-app with a flaw, pages that say nothing, a websocket, a hidden route."""

from pathlib import Path

from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

app = FastAPI(openapi_url=None)
router = APIRouter(prefix="/v1")
inner = FastAPI()
app.mount("/inner", inner)
app.mount("/static", StaticFiles(directory=Path(__file__).parent))


class Name(BaseModel):
    name: str


@app.post("/name")
def name(name: Name) -> Name:
    return name


@inner.post("/name")
def inner_name(name: Name) -> Name:
    return name


@inner.get("/count/{number}")
def count(number: int) -> float:
    return 1 / (number - 2**63)


@router.get("/names")
def names() -> list[str]:
    return ["ada"]


@router.websocket("/live")
async def live(websocket: WebSocket) -> None:
    await websocket.accept()


@router.get("/hidden", include_in_schema=False)
def hidden() -> None:
    pass


@router.post("/hidden", include_in_schema=False)
def hidden_too() -> None:
    pass


app.include_router(router, prefix="/api")
