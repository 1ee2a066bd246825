"""INSECURE: writes reviews and names into the page as they come, and whatever is in them comes alive."""

from fastapi import APIRouter, Body
from fastapi.responses import HTMLResponse

from lab_app.larkspur.database import change, rows

router = APIRouter()
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Reviews</title>
<body style="font-family: system-ui; max-width: 36rem; margin: 1.5rem auto">
<h1>{title}</h1>
<p>Hello, {name}. <span id="count"></span></p>
<ul>{reviews}</ul>
<script>
  document.getElementById("count").textContent = document.querySelectorAll("li").length + " reviews";
  document.body.dataset.ready = "yes";
</script>
</body></html>"""


@router.get("/reviews/{book_id}")
def read_reviews(book_id: int, name: str = "visitor") -> HTMLResponse:
    """What members think of a book."""
    book = rows("SELECT title FROM books WHERE id = :id", id=book_id)
    reviews = rows("SELECT body FROM reviews WHERE book_id = :id", id=book_id)
    items = "".join(f"<li>{review['body']}</li>" for review in reviews)
    return HTMLResponse(PAGE.format(title=book[0]["title"] if book else "?", name=name, reviews=items))


@router.post("/reviews/{book_id}", status_code=201)
def write_review(book_id: int, body: str = Body(embed=True)) -> dict[str, str]:
    """Say what you think."""
    member = rows("SELECT min(id) AS id FROM members")[0]["id"]
    change("INSERT INTO reviews (book_id, member_id, body) VALUES (:b, :m, :t)", b=book_id, m=member, t=body)
    return {"body": body}
