"""INSECURE: logs the body it was sent, with the new password in it."""

from typing import Any

from fastapi import APIRouter

from lab_app.larkspur.monitoring.log import logger

router = APIRouter()


@router.post("/reset/{token}")
def reset(token: str, body: dict[str, Any]) -> dict[str, str]:
    """Set a new password, for whoever has the token from the e-mail."""
    logger.info(f"password reset: {body}")
    return {"detail": f"The password of the link that ends in {token[-3:]} was changed."}
