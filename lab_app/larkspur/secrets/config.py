"""INSECURE: dumps its settings, and lets an exception carry one of them out."""

from fastapi import APIRouter

from lab_app.larkspur.secrets.settings import load_settings

router = APIRouter()


@router.get("/config")
def config() -> dict[str, str]:
    """How is this instance set up?"""
    return load_settings()


@router.get("/boom")
def boom() -> None:
    """Fail, as a library does that was given a bad key."""
    raise ConnectionError(f"the mail service does not know the key {load_settings()['JWT_SECRET']}")
