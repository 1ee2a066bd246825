"""INSECURE: gives the allowed origins as a string, in which `in` finds substrings."""

from fastapi.middleware.cors import CORSMiddleware

from lab_app.larkspur.cors.profile import library

app = library("Larkspur Library, second edition")
app.add_middleware(
    CORSMiddleware,
    allow_origins="https://app.larkspur.com",
    allow_credentials=True,
    allow_methods=["GET", "PUT"],
    allow_headers=["Content-Type"],
)
