"""Section 7 on a real PostgreSQL server, which this module starts and throws away."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from lab_app.harness.draw import Draw
from lab_app.harness.library import build
from lab_app.harness.postgres import Server
from lab_app.harness.session import plain_session
from lab_app.runner.sandbox import AnswerTrouble
from lab_app.workbook.source import ROOT

INSTALLED = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True), shutil.which("initdb")]
INITDB = next((Path(path) for path in INSTALLED if path), None)
PASSWORD = "p@ss/wörd"  # as awkward in an address as they come

pytestmark = pytest.mark.skipif(
    INITDB is None and "CI" not in os.environ, reason="PostgreSQL is not installed (apt install postgresql)"
)


@dataclass(frozen=True)
class Running:
    url: str
    log: Path

    def databases(self) -> set[str]:
        with psycopg.connect(self.url) as connection:
            return {row[0] for row in connection.execute("SELECT datname FROM pg_database")}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    assert INITDB, "CI must have PostgreSQL"
    # Not pytest's own temporary folder, which others may not enter; and PostgreSQL does not run as root.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    other = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if other:
        shutil.chown(folder, "nobody", "nogroup")

    def run(*command: str | Path) -> None:
        subprocess.run([*map(str, command)], cwd=folder, check=True, stdout=subprocess.DEVNULL, **other)  # type: ignore[call-overload]

    (folder / "password").write_text(PASSWORD)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, control = folder / "data", INITDB.resolve().with_name("pg_ctl")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c log_statement=ddl -F"
    try:
        run(INITDB, "-D", data, "-U", "lark", "-A", "scram-sha-256", "--pwfile", folder / "password", "--no-sync")
        run(control, "start", "-w", "-D", data, "-l", folder / "log", "-o", options)
        yield Running(f"postgresql://lark:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres", folder / "log")
        run(control, "stop", "-w", "-D", data, "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pytest_on(server: Running, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "checks", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | {"DATABASE_URL": server.url}, capture_output=True, text=True
    )


def test_a_library_is_a_database_of_its_own(server: Running) -> None:
    library = build(Draw("postgres"))
    postgres = Server(server.url)
    one, other = postgres.create(library), postgres.create(library)
    assert {one.name, other.name} < server.databases()
    names = "SELECT username FROM members WHERE id = ? AND role <> '100%'"
    assert one.sql(names, library.ada.id) == [[library.ada.username]]
    one.sql("DELETE FROM reviews")
    one.sql("INSERT INTO books (title, author, year, shelf) VALUES (?, ?, ?, ?)", "What?", "100%", 2**40, "A1")
    assert one.sql("SELECT max(id), max(year) FROM books") == [[6, 2**40]]
    assert other.sql("SELECT count(*) FROM books") == [[5]]
    with pytest.raises(AnswerTrouble, match="no_such_table"):
        one.sql("SELECT * FROM no_such_table")
    with other.connect():  # an answer may leave connections open
        postgres.drop()
    assert not {one.name, other.name} & server.databases()


def test_only_section_7_runs_there_and_nothing_jailed(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {"1.4": "", "7.1": ""}
    monkeypatch.setenv("DATABASE_URL", server.url)
    with closing(plain_session(sources, "x")) as session:
        assert session.answer("7.1").server
        assert session.answer("1.4").server is None
        session.sandbox.jailed = True
        assert session.answer("7.1").server is None
        session.sandbox.jailed = False
        session.answer("1.4")
        monkeypatch.setenv("DATABASE_URL", "sqlite:///x.db")
        assert session.answer("7.1").server is None


def test_the_solutions_pass_on_postgresql(server: Running) -> None:
    ran = pytest_on(server, "-k", "test_07")
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert "section 7 on PostgreSQL" in ran.stdout
    assert server.log.read_text().count("CREATE DATABASE") > 4
    assert not {name for name in server.databases() if name.startswith("larkspur_")}


def test_right_answers_pass_on_postgresql(server: Running) -> None:
    ran = pytest_on(server, "--prove", "-k", "7. and right")
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert " passed" in ran.stdout
    assert not {name for name in server.databases() if name.startswith("larkspur_")}
