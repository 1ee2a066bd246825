"""Ada's profile, for whoever comes from inside the building: this API asks nobody to log in."""

from typing import Any

from fastapi import APIRouter, Body, FastAPI, Request

from lab_app.larkspur import home
from lab_app.larkspur.database import change, rows

router = APIRouter()


@router.get("/profile")
def read_profile() -> dict[str, Any]:
    """Who Ada is."""
    return rows("SELECT username, email FROM members WHERE username = 'ada'")[0]


@router.put("/profile")
def change_profile(email: str = Body(embed=True)) -> dict[str, Any]:
    """Change Ada's address."""
    change("UPDATE members SET email = :email WHERE username = 'ada'", email=email)
    return read_profile()


@router.post("/reviews", status_code=201)
async def review(request: Request) -> dict[str, Any]:
    """Store a review of book 1, in Ada's name."""
    body = (await request.body()).decode(errors="replace")
    about = "INSERT INTO reviews (book_id, member_id, body) SELECT 1, id, :body FROM members WHERE username = 'ada'"
    return {"id": change(about, body=body), "body": body}


def library(title: str) -> FastAPI:
    """The API as it is without CORS; each edition adds its own."""
    app = FastAPI(title=title, description="INSECURE on purpose. Break it.")
    app.include_router(home.router)
    app.include_router(router)
    return app
