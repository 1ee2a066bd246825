"""INSECURE on purpose: section 6 of the Larkspur Library, put together, in debug mode as somebody left it."""

from fastapi import FastAPI

from lab_app.larkspur import home
from lab_app.larkspur.secrets import config, keys

app = FastAPI(title="Larkspur Library", description="INSECURE on purpose. Break it.", debug=True)
for part in (home, config, keys):
    app.include_router(part.router)
