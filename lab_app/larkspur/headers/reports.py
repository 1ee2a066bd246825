"""INSECURE: writes what a report says into the log as it came; a line end in it begins a new line."""

import os
from pathlib import Path

from fastapi import APIRouter, Request

router = APIRouter()


@router.post("/csp-report", status_code=204)
async def take_report(request: Request) -> None:
    """Note what a browser's policy has blocked."""
    report = (await request.json())["csp-report"]
    with Path(os.environ["LOG_FILE"]).open("a", encoding="utf-8") as log:
        log.write(f"INFO blocked {report['blocked-uri']}\n")
