"""Pages everywhere, with scripts in whatever a report would show. INSECURE."""

from typing import Annotated

from fastapi import FastAPI, Path, Query
from fastapi.responses import HTMLResponse

EVIL = "</pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
app = FastAPI(title=EVIL)


@app.get("/pages/{name}", response_class=HTMLResponse, summary=EVIL)
def page(name: Annotated[str, Path()], q: Annotated[str, Query()] = "") -> HTMLResponse:
    return HTMLResponse(f"<!doctype html>```\n{EVIL} {name} {q}", headers={"X-Evil": EVIL})


@app.get("/<script>document.title='owned'</script>", response_class=HTMLResponse)
def named() -> str:
    return f"<!doctype html>{EVIL}"
