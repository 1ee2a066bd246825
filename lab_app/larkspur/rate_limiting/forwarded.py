"""INSECURE: believes X-Forwarded-For, whoever sends it."""

from fastapi import Request


def client_of(request: Request) -> str:
    """Who is asking?"""
    here = request.client.host if request.client else ""
    return request.headers.get("X-Forwarded-For", here).split(",")[0].strip()
