"""The library's front page: what this API can be asked."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Larkspur Library</title>
<body style="font-family: system-ui; max-width: 40rem; margin: 3rem auto">
<h1>Larkspur Library</h1>
<p><strong>INSECURE on purpose.</strong> It runs in your notebook, on this machine only. Break it.</p>
<ul>{routes}</ul>
</body></html>"""


@router.get("/")
def home(request: Request) -> HTMLResponse:
    """List the routes."""
    paths = request.app.openapi()["paths"].items()
    rows = (f"<li><code>{method.upper()} {path}</code></li>" for path, methods in paths for method in methods)
    return HTMLResponse(PAGE.format(routes="\n".join(rows)))
