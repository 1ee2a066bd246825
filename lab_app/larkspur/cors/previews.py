"""INSECURE: the dots of the pattern match any character, so other domains match too."""

from fastapi.middleware.cors import CORSMiddleware

from lab_app.larkspur.cors.profile import library

app = library("Larkspur Library, third edition")
app.add_middleware(
    CORSMiddleware,
    allow_origins=["https://app.larkspur.example"],
    allow_origin_regex=r"https://pr-.*.preview.larkspur.example",
    allow_credentials=True,
    allow_methods=["GET", "PUT"],
    allow_headers=["Content-Type"],
)
