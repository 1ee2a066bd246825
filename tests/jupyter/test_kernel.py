"""A learner's session in a real kernel."""

import os
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from lab_app.workbook.source import ROOT, all_exercises

EXERCISE = all_exercises()["1.1"]
HANGS = """# Exercise 1.1 — Read the token
import pathlib, time
from fastapi import FastAPI
app = FastAPI()

@app.get("/members/me")
def read_me():
    pathlib.Path({marker!r}).touch()
    time.sleep(3600)
"""


class Notebook:
    """Runs one cell after the other in one kernel."""

    def __init__(self) -> None:
        self.client = NotebookClient(new_notebook(), timeout=120, resources={"metadata": {"path": str(ROOT)}})

    def run(self, source: str) -> str:
        """All that the cell shows as text; an error raises."""
        cell = new_code_cell(source)
        self.client.nb.cells.append(cell)
        self.client.execute_cell(cell, len(self.client.nb.cells) - 1)
        return "\n".join(out.get("text") or out.data["text/plain"] for out in cell.outputs).strip()


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    made = Notebook()
    with made.client.setup_kernel():
        yield made


def test_a_session(notebook: Notebook, home: Path) -> None:
    assert notebook.run("from lab_app.jupyter import check, hint, serve, progress") == ""
    assert notebook.run('check("1.1")').startswith("Run the cell of exercise 1.1 first")

    notebook.run(EXERCISE.starter)
    assert "not attempted" in notebook.run("check(1.1)")
    assert notebook.run('serve(app).get("/members/me").status_code') == "401"

    notebook.run(EXERCISE.starter.replace("Who are you?", "Who is it?"))
    verdict = notebook.run('check("1.1")')
    assert "not yet" in verdict
    assert "✗ not blocked  A token that says alg=none" in verdict
    assert "Again: curl -i" in verdict
    first, second = notebook.run('hint("1.1")'), notebook.run('hint("1.1")')
    assert first.startswith("Hint: ")
    assert second.startswith("Hint: ")
    assert first != second

    notebook.run(EXERCISE.solution)
    assert "passed (" in notebook.run('check("1.1")')
    assert "passed" in notebook.run('hint("1.1")')
    assert "✓ 1.1" in notebook.run("progress()")
    with sqlite3.connect(home / "progress.db") as kept:
        assert kept.execute("SELECT outcome FROM attempts").fetchall() == [("not yet",), ("passed",)]


def test_what_is_no_answer_is_said_in_a_sentence(notebook: Notebook, home: Path) -> None:
    notebook.run("from lab_app.jupyter import check, hint, progress")
    assert notebook.run('check("1.99")').startswith("There is no exercise '1.99'. There are: 1.1")
    assert notebook.run("hint(None)").startswith("There is no exercise 'None'")
    assert notebook.run('hint("1.1")').startswith("Hint: ")
    notebook.run("# Exercise 1.1 — Read the token\nprint('no app here')")
    verdict = notebook.run('check("1.1")')
    assert "does not start" in verdict
    assert "defines no `app`" in verdict
    assert "Mend that first" in notebook.run('hint("1.1")')
    (home / "progress.db").write_bytes(b"no database" * 1000)
    assert "move the file away" in notebook.run('check("1.1")')


def test_the_cells_find_the_library(notebook: Notebook) -> None:
    notebook.run("from lab_app.jupyter import check\nimport os, sqlite3")
    where = notebook.run("print(os.environ['DATABASE_URL'].removeprefix('sqlite:///'))")
    count = "sqlite3.connect(os.environ['DATABASE_URL'].removeprefix('sqlite:///')).execute("
    assert notebook.run(count + "'SELECT count(*) FROM members').fetchone()") == "(4,)"
    assert re.fullmatch("'[0-9a-f]{64}'", notebook.run("os.environ['JWT_SECRET']"))
    assert Path(where).exists()


def test_an_interrupted_check_leaves_the_kernel_usable(notebook: Notebook, tmp_path: Path) -> None:
    notebook.run("from lab_app.jupyter import check")
    kernel = int(notebook.run("import os; os.getpid()"))
    marker = tmp_path / "asked"
    notebook.run(HANGS.format(marker=str(marker)))

    def interrupt() -> None:
        until = time.monotonic() + 60
        while not marker.exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(kernel, signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    assert "was stopped" in notebook.run('check("1.1")')
    watcher.join()
    assert notebook.run("6 * 7") == "42"
    notebook.run(EXERCISE.solution)
    assert "passed (" in notebook.run('check("1.1")')


def test_two_pages_are_shown_where_a_browser_can_reach_them(notebook: Notebook) -> None:
    notebook.run("import os; from lab_app.jupyter import serve; from lab_app.jupyter.services import pages")
    notebook.run("from lab_app.larkspur import cors; api = serve(cors.closed)")
    shown = notebook.run("pages.show(api)")
    assert [line.split(": ")[0].strip() for line in shown.splitlines()[1:]] == ["the frontend", "Mallory's page"]
    assert notebook.run("'password' in pages.frontend.get('/about').json()") == "True"
    assert notebook.run("'password' in pages.mallory.get('/about').json()") == "False"
    assert notebook.run("pages.show(api)._repr_html_().count('<iframe')") == "2"
    notebook.run("os.environ['JUPYTERHUB_SERVICE_PREFIX'] = '/user/ada/'")
    assert notebook.run("pages.show(api)").startswith("Your notebook runs on a hub")
