"""What is seen without asking: code, logs, secrets, pins, nginx and Dependabot files, each beside its harmless twin."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab_app.audit.errors import AuditError
from lab_app.audit.finding import Finding
from lab_app.audit.project import project
from lab_app.audit.source import code, front, logs, packages, secrets, settings
from lab_app.audit.source.tree import Tree
from lab_app.runner.services.advisories import Advisories, frozen

APP = """
import logging, os, pickle
from fastapi import FastAPI
app = FastAPI()
log = logging.getLogger(__name__)
KEY = "{key}"
SECRET_KEY = os.environ["SECRET_KEY"]
TABLE = "books"

@app.post("/login")
def login(name: str, password: str, token: object):
    log.info("%s has %d characters, %s", name, len(password), token.id)
    log.info("password reset for %s", name)
    {line}

@app.get("/books")
def books(title: str, db: object):
    db.execute(f"SELECT * FROM {{TABLE}} WHERE title = ?", (title,))
    {query}
"""
HARMLESS = {"key": "not-a-key", "line": "pass", "query": "pass"}


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Tree]:
    def tree(**changed: str) -> Tree:
        (tmp_path / "app.py").write_text(APP.format(**(HARMLESS | changed)))
        return Tree(tmp_path)

    return tree


def keys(found: Iterator[Finding]) -> list[str]:
    return [each.key for each in found]


def test_harmless_code_has_no_findings(tree: Callable[..., Tree]) -> None:
    harmless = tree()
    for look in (code.look, logs.look, secrets.look, settings.look, front.look):
        assert keys(look(harmless)) == []


def test_what_bandit_says_stands_at_the_line(tree: Callable[..., Tree]) -> None:
    flawed = tree(query="return pickle.loads(title.encode())")
    (found,) = code.look(flawed)
    assert (found.weakness.cwe, found.where) == (502, "app.py:19")
    assert "pickle" in found.evidence.response


def test_a_query_put_together_from_an_argument_is_one_and_from_a_constant_is_none(tree: Callable[..., Tree]) -> None:
    flawed = tree(query="db.execute(f\"SELECT * FROM books WHERE title = '{title}'\")")
    assert keys(code.look(flawed)) == ["sql-injection at app.py:19"]


@pytest.mark.parametrize(
    ("arguments", "before"),
    [
        ("order: int", "pass"),
        ('order: Literal["asc", "desc"]', "pass"),
        ('order: Annotated[str, Query(pattern="^(asc|desc)$")]', "pass"),
        ("order: str", "assert order in ORDERS"),
        ("sort: str", "order = ORDERS.get(sort)"),
    ],
)
def test_what_is_bounded_may_stand_in_a_query(tmp_path: Path, arguments: str, before: str) -> None:
    query = 'return db.execute(f"SELECT * FROM books ORDER BY title {order}")'
    (tmp_path / "app.py").write_text(f"def books(db, {arguments}):\n    {before}\n    {query}\n")
    assert keys(code.look(Tree(tmp_path))) == []


@pytest.mark.parametrize(
    "line", ["log.info(f'{name} {password}')", "log.warning('%s', password)", "logging.error({'p': password})"]
)
def test_a_password_handed_to_a_logger_is_found(tree: Callable[..., Tree], line: str) -> None:
    assert keys(logs.look(tree(line=line))) == ["secret-in-log at app.py:14"]


def test_a_secret_in_the_source_is_found_and_not_repeated(tree: Callable[..., Tree]) -> None:
    secret = "AKIA" + "QWERTYUIOPASDFGH"
    (found,) = secrets.look(tree(key=secret))
    assert found.key == "secret-in-source at app.py:6"
    assert secret not in str(found)


KEY = "Quite.secret.words"


@pytest.mark.parametrize(
    "key",
    [
        f'SECRET_KEY = "{KEY}"',
        f'JWT_SECRET: str = "{KEY}"',
        f'SECRET_KEY = os.getenv("SECRET_KEY", "{KEY}")',
        f'SECRET_KEY = os.environ.get("SECRET_KEY") or "{KEY}"',
        f'class Settings:\n    secret_key: str = Field(default="{KEY}")',
        f'app.add_middleware(SessionMiddleware, secret_key="{KEY}", https_only=True)',
    ],
)
def test_a_key_that_is_written_down_is_found_and_not_repeated(tree: Callable[..., Tree], key: str) -> None:
    (found,) = settings.look(tree(key=f'"\n{key}\nEND = "'))
    assert found.weakness.name == "secret-in-source"
    assert KEY not in str(found)


@pytest.mark.parametrize(
    "key",
    [
        'SECRET_KEY = os.environ["SECRET_KEY"]',
        'SECRET_KEY = os.getenv("SECRET_KEY", "")',
        "SECRET_KEY = secrets.token_hex(32)",
        'SECRET_KEY = "secret_key"',
        f'SECRET_KEY = os.getenv("SECRET_KEY", "{KEY}")\nif SECRET_KEY == "{KEY}":\n    raise SystemExit',
        "app.add_middleware(SessionMiddleware, secret_key=SECRET_KEY, https_only=PRODUCTION)",
        "app.add_middleware(SessionMiddleware, **options)",
        'app = FastAPI(debug=os.getenv("DEBUG") == "1")',
    ],
)
def test_what_is_asked_for_drawn_or_refused_is_no_finding(tree: Callable[..., Tree], key: str) -> None:
    assert keys(settings.look(tree(key=f'"\n{key}\nEND = "'))) == []


def test_debug_mode_and_a_cookie_without_secure_are_found(tree: Callable[..., Tree]) -> None:
    lines = "app = FastAPI(debug=True)\napp.add_middleware(SessionMiddleware, secret_key=KEY)"
    assert {each.weakness.name for each in settings.look(tree(key=f'"\n{lines}\nEND = "'))} == {
        "debug-on",
        "cookie-without-secure",
    }


def test_an_argument_that_is_a_secret_is_found_by_its_own_name(tree: Callable[..., Tree]) -> None:
    call = 'register("hub", client_id="x", client_secret="8a1f0c3b5d7e9f1a2b3c4d5e6f708192")'
    assert keys(secrets.look(tree(query=call))) == ["secret-in-source at app.py:19"]


TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3
DRAWN = "9f8a7b6c5d4e3f2a1b0c9d8e"
FILES = {
    "Dockerfile": f"FROM python:3.12\nENV SECRET_KEY={DRAWN}\nENV API_KEY_FILE=/run/secrets/key\nARG DB_PASSWORD\n",
    "compose.yaml": f"environment:\n  - JWT_SECRET={DRAWN}\n  - DB_PASSWORD=${{DB_PASSWORD}}\n",
    "web/docker-compose.yml": f"environment:\n  GITHUB_PASSWORD: {TOKEN}\n  API_KEY: '{DRAWN}'\n",
    ".env": f"# here\nexport SECRET_KEY={DRAWN}\nDB_PASSWORD=changethis\n",
    ".env.example": f"SECRET_KEY={DRAWN}\n",
}
SET = [("compose.yaml", 2), ("Dockerfile", 2), ("web/docker-compose.yml", 2), ("web/docker-compose.yml", 3)]


@pytest.fixture
def settled(tmp_path: Path) -> Path:
    """Files that set variables."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def secrets_in(top: Path) -> list[tuple[str, int]]:
    """Where secrets were found; none of them is repeated."""
    found = list(secrets.look(Tree(top)))
    assert DRAWN not in str(found)
    assert TOKEN not in str(found)
    assert {each.weakness.name for each in found} == {"secret-in-source"}
    return sorted((each.place.file, each.place.line) for each in found if each.place)


def test_a_secret_that_is_set_where_the_app_starts_is_found(settled: Path) -> None:
    (settled / ".gitignore").write_text(".venv/\n/.env\n")
    assert secrets_in(settled) == sorted(SET)


def test_an_environment_file_that_nothing_ignores_goes_with_the_source(settled: Path) -> None:
    assert secrets_in(settled) == sorted([(".env", 2), *SET])


def test_what_is_not_in_the_repository_is_nobodys_business(settled: Path) -> None:
    git = shutil.which("git")
    if not git:
        assert "CI" not in os.environ
        pytest.skip("git is not installed")
    subprocess.run([git, "init", "-q"], cwd=settled, check=True)
    assert secrets_in(settled) == sorted(SET)
    subprocess.run([git, "add", "."], cwd=settled, check=True)
    assert secrets_in(settled) == sorted([(".env", 2), *SET])


def test_tests_and_environments_are_not_looked_at(tmp_path: Path, tree: Callable[..., Tree]) -> None:
    for folder in ("tests", ".venv/lib", "env"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.py").write_text("import pickle\npickle.loads(b'')\n")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    assert keys(code.look(tree())) == []


NGINX = """
server {
    listen 443 ssl;
    add_header Strict-Transport-Security "max-age=31536000" always;
    ssl_protocols %s;
    location /static%s { alias /srv/static/; }
    location / { proxy_set_header X-Forwarded-For %s;
    return 301 https://%s$request_uri; }
}
"""


def test_an_nginx_file_is_read(tmp_path: Path) -> None:
    bad = NGINX % ("TLSv1 TLSv1.2", "", "$http_x_forwarded_for", "$host")
    (tmp_path / "nginx.conf").write_text(bad.replace("; }", ";\n}").replace("{ ", "{\n"))
    found = {each.weakness.name for each in front.look(Tree(tmp_path))}
    assert found == {"old-tls", "alias-traversal", "forwards-forged-address", "redirects-to-host"}
    good = NGINX % ("TLSv1.2 TLSv1.3", "/", "$remote_addr", "app.example")
    (tmp_path / "nginx.conf").write_text(good.replace("; }", ";\n}").replace("{ ", "{\n"))
    assert keys(front.look(Tree(tmp_path))) == []


TWO = """
server {
    listen 80;
    %s
}
server {
    listen 443 ssl;
    %s
    location / { proxy_pass http://app; }
}
"""


def test_plain_http_beside_https_and_no_hsts_are_found(tmp_path: Path, tree: Callable[..., Tree]) -> None:
    (tmp_path / "nginx.conf").write_text(TWO % ("location / {\n proxy_pass http://app;\n}", "# no more"))
    assert set(keys(front.look(tree()))) == {"plain-http at nginx.conf:5", "no-hsts at nginx.conf:9"}
    hsts = 'add_header Strict-Transport-Security "max-age=31536000" always;'
    (tmp_path / "nginx.conf").write_text(TWO % ("return 301 https://app.example$request_uri;", hsts))
    assert keys(front.look(tree())) == []


@pytest.mark.parametrize(("given", "found"), [("'*'", True), ('"*"', True), ("10.0.0.2", False)])
def test_whoever_is_taken_for_the_proxy_is_named(
    tmp_path: Path, tree: Callable[..., Tree], given: str, found: bool
) -> None:
    (tmp_path / "Dockerfile").write_text(f"CMD uvicorn app:app --proxy-headers --forwarded-allow-ips={given}\n")
    assert bool(keys(front.look(tree()))) == found


@pytest.mark.parametrize(("watched", "found"), [("pip", True), ("github-actions", True), ("both", False), ("[", False)])
def test_dependabot_watches_what_is_there(tmp_path: Path, tree: Callable[..., Tree], watched: str, found: bool) -> None:
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    names = ("pip", "github-actions") if watched == "both" else (watched,)
    rows = "".join(f"  - package-ecosystem: {name}\n" for name in names)
    (tmp_path / ".github" / "dependabot.yml").write_text(f"updates:\n{rows}")
    assert bool(keys(front.look(tree()))) == found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "requirements.txt",
            "fastapi==0.165.0\njinja2>=3\npython-jose==3.3.0 \\\n    --hash=sha256:00 # why\n-r more.txt\n",
        ),
        (
            "requirements.txt",
            "Python_Jose[cryptography]==3.3.0 ; python_version > '3'\nother==1 ; python_version < '3'\n",
        ),
        (
            "pyproject.toml",
            '[project]\nname = "x"\ndependencies = [\n  "fastapi>=0.115",\n  "python-jose==3.3.0",\n]\n',
        ),
        ("pyproject.toml", '[tool.poetry.dependencies]\npython = "3.12"\nfastapi = "^0.115"\npython-jose = "3.3.0"\n'),
        ("Pipfile.lock", '{"default": {"python-jose": {"version": "==3.3.0"}, "here": {"path": "."}}, "develop": {}}'),
        ("uv.lock", '[[package]]\nname = "python-jose"\nversion = "3.3.0"\nsource = { registry = "x" }\n'),
    ],
)
def test_pins_are_audited_in_every_kind_of_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    service = Advisories(frozen()).start()
    monkeypatch.setenv("OSV_URL", service.url)
    (tmp_path / name).write_text(text)
    try:
        found = list(packages.look(tmp_path / name))
    finally:
        service.stop()
    assert [each.where.lower().replace("_", "-") for each in found] == [f"{name.lower()}: python-jose==3.3.0"]
    assert "CVE-2024-33663" in found[0].said


def test_without_a_pin_the_section_stays_open(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("fastapi>=0.115\n")
    with pytest.raises(packages.Unpinned, match="pins no version"):
        list(packages.look(tmp_path / "requirements.txt"))


def test_a_service_that_does_not_answer_leaves_the_section_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSV_URL", "http://127.0.0.1:9/v1/query")
    (tmp_path / "requirements.txt").write_text("fastapi==0.165.0\n")
    with pytest.raises(packages.Unreachable):
        list(packages.look(tmp_path / "requirements.txt"))


def test_a_second_index_is_found_and_its_password_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("--extra-index-url https://me:hunter22@pypi.example/simple\n")
    found = next(packages.look(tmp_path / "requirements.txt"))
    assert found.weakness.cwe == 427
    assert "hunter22" not in str(found)


@pytest.mark.parametrize(
    ("file", "text", "app", "root"),
    [
        ("main.py", "from fastapi import FastAPI\napp = FastAPI()", "main:app", "."),
        ("pack/__init__.py", "from fastapi import FastAPI\napi = FastAPI()\napp = FastAPI()", "pack:app", "."),
        ("src/shop/main.py", "import fastapi\napi: fastapi.FastAPI = fastapi.FastAPI()", "main:api", "src/shop"),
        (
            "backend/app/main.py",
            "from app.x import y\nfrom fastapi import FastAPI\napp = FastAPI()",
            "app.main:app",
            "backend",
        ),
        (
            "factory.py",
            "from fastapi import FastAPI\ndef create_app():\n    return FastAPI()",
            "factory:create_app()",
            ".",
        ),
    ],
)
def test_the_app_of_a_project_is_found(tmp_path: Path, file: str, text: str, app: str, root: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "app.py").write_text("from fastapi import FastAPI\napp = FastAPI()")
    found = project(tmp_path)
    assert (found.app, found.root) == (app, (tmp_path / root).resolve())


def test_a_folder_without_an_app_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="Give module:app"):
        project(tmp_path)
