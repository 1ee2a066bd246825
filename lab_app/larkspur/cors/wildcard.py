"""INSECURE: allows every origin, with credentials (Starlette answers `*` by repeating whatever Origin came)."""

from fastapi.middleware.cors import CORSMiddleware

from lab_app.larkspur.cors.profile import library

app = library("Larkspur Library, first edition")
app.add_middleware(
    CORSMiddleware,
    allow_origins=["*"],
    allow_credentials=True,
    allow_methods=["*"],
    allow_headers=["*"],
)
