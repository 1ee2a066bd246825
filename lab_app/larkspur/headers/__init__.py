"""INSECURE on purpose: section 8 of the Larkspur Library, put together. `/docs` is FastAPI's own, for everybody."""

from fastapi import FastAPI

from lab_app.larkspur import home
from lab_app.larkspur.headers import checklist, reports, resets, reviews

app = FastAPI(title="Larkspur Library", description="INSECURE on purpose. Break it.")
app.middleware("http")(checklist.add_security_headers)
for part in (home, reviews, resets, reports, checklist):
    app.include_router(part.router)
