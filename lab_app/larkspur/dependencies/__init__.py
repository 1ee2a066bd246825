"""INSECURE on purpose: section 9 of the Larkspur Library, what it is built on and the tools that watch over it."""

from fastapi import FastAPI

from lab_app.larkspur import home
from lab_app.larkspur.dependencies import interlibrary
from lab_app.larkspur.dependencies.as_text import is_affected
from lab_app.larkspur.dependencies.for_ever import gate
from lab_app.larkspur.dependencies.silent import audit
from lab_app.larkspur.dependencies.unhashed import lock

__all__ = ["app", "audit", "gate", "is_affected", "lock"]

app = FastAPI(title="Larkspur Library", description="INSECURE on purpose. Break it.")
for part in (home, interlibrary):
    app.include_router(part.router)
