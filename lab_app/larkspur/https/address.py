"""INSECURE: takes the first address in X-Forwarded-For for the client's, whoever wrote it."""

from fastapi import APIRouter, Request

router = APIRouter()


@router.get("/whoami")
def whoami(request: Request) -> dict[str, str]:
    """Where do you come from?"""
    peer = request.client.host if request.client else ""
    client = request.headers.get("x-forwarded-for", peer).split(",")[0].strip()
    return {"client": client, "scheme": request.headers.get("x-forwarded-proto", request.url.scheme)}


@router.get("/staff-room")
def staff_room(request: Request) -> dict[str, str]:
    """For those who sit in the library itself, on 10.0.0.*."""
    if whoami(request)["client"].startswith("10.0.0."):
        return {"door": "open", "code of the safe": "1849"}
    return {"door": "closed"}
