"""Everything but nothing is behind a login: the document too, and nobody can register. Sub is who is asked for."""

from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException

USERS = {"Bearer token-of-ada-0123456789": "ada", "Bearer token-of-eve-0123456789": "eve"}
NOTES = {1: "ada", 2: "eve"}


def user(authorization: Annotated[str, Header()] = "") -> str:
    if authorization not in USERS:
        raise HTTPException(401, "Log in, please.")
    return USERS[authorization]


app = FastAPI(dependencies=[Depends(user)], openapi_url=None)
User = Annotated[str, Depends(user)]


@app.get("/openapi.json", include_in_schema=False)
def document() -> dict[str, object]:
    return app.openapi()


@app.get("/notes")
def mine(me: User) -> list[dict[str, int]]:
    return [{"id": number} for number, owner in NOTES.items() if owner == me]


@app.get("/notes/{id}")
def note(id: int) -> dict[str, object]:
    if id not in NOTES:
        raise HTTPException(404)
    return {"id": id, "text": f"for {NOTES[id]} only"}
