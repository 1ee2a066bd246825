"""Two users and nobody: what `--auth` says of them, or, with `--active`, two that were registered just now."""

import os
import string
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from lab_app.audit.asking import Asker
from lab_app.audit.errors import AuditError

TOKEN_NAMES = ("access_token", "accesstoken", "token", "jwt", "id_token", "idtoken", "auth_token", "authtoken", "key")
EXAMPLE = 'Give it two tables, such as [a] Authorization = "Bearer $TOKEN_A" and [b] Authorization = "Bearer $TOKEN_B".'


@dataclass(frozen=True)
class Person:
    """`headers` are sent with a person's requests; `known` holds username, email and password where we know them."""

    name: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    known: dict[str, str] = field(default_factory=dict, repr=False)
    sent: httpx.Response | None = None  # the answer that brought the token

    @property
    def token(self) -> str:
        """The credential itself, "" for nobody."""
        return next((value.split(" ")[-1] for value in self.headers.values()), "")


NOBODY = Person("anonymous")


@dataclass(frozen=True)
class Login:
    """How a person gets a token: a request with `$name` and `$password` in it, and where the token is in its answer."""

    method: str
    path: str
    body: dict[str, Any]
    token: str = ""
    header: str = "Authorization: Bearer $token"


def people(file: Path, asker: Asker) -> list[Person]:
    """The users that an `--auth` file describes; their secrets are kept out of all reports. Raises AuditError.

    Either a table for each user with the headers that they send, `$NAME` being read from the environment:

        [a]
        Authorization = "Bearer $TOKEN_A"
        [b]
        Cookie = "session=$SESSION_B"

    or a `[login]` and a name and a password for each:

        [login]
        request = "POST /token"
        form = { username = "$name", password = "$password" }   # or json = {…}
        token = "access_token"     # a.b for a token within an object; left out, the answer's cookies are taken
        [a]
        name = "ada"
        password = "$PASSWORD_A"
    """
    table = _table(file)
    login = login_of(file)
    users = {name: row for name, row in table.items() if name != "login"}
    return [_person(file, name, row, login, asker) for name, row in users.items()][:2]


def login_of(file: Path) -> Login | None:
    """The `[login]` of an `--auth` file, if it has one. Raises AuditError."""
    table = _table(file)
    return _login(file, table["login"]) if "login" in table else None


def guesser(file: Path, login: Login, asker: Asker) -> Callable[..., httpx.Response | None]:
    """Logs in as anybody, with any password."""
    return lambda name, password, stranger=False: asker.send(
        login.method,
        login.path,
        **_filled_in(file, login.body, {"name": name, "password": password}),
        stranger=stranger,
    )


def _table(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise AuditError(f"{file} cannot be read as TOML: {error}. {EXAMPLE}") from error
    users = [row for name, row in table.items() if name != "login"]
    if not users or not all(isinstance(row, dict) and row for row in users):
        raise AuditError(f"{file} describes no users. {EXAMPLE}")
    return table


def _login(file: Path, row: Any) -> Login:
    try:
        method, _, path = row["request"].partition(" ")
        body = {kind: row[kind] for kind in ("form", "json") if kind in row}
        more = {name: row[name] for name in ("token", "header") if name in row}
        return Login(method.upper(), path, body, **more)
    except (TypeError, KeyError, AttributeError) as error:
        raise AuditError(
            f'The [login] of {file} needs request = "POST /token" and form = {{…}} or json = {{…}}.'
        ) from error


def _person(file: Path, name: str, row: Mapping[str, Any], login: Login | None, asker: Asker) -> Person:
    values = {key: _filled(file, str(value), os.environ) for key, value in row.items()}
    if login is None:
        for header, value in values.items():
            asker.secrets[value.split(" ")[-1]] = f"${name.upper()}_{header.upper().replace('-', '_')}"
        return Person(name, values)
    asker.secrets[values.get("password", "")] = f"${name.upper()}_PASSWORD"
    answer = asker.send(login.method, login.path, **_filled_in(file, login.body, values))
    headers = signed_in(answer, login)
    if not headers or answer is None:
        came = f"answered {answer.status_code}" if answer is not None else "did not answer"
        raise AuditError(f"{login.method} {login.path} {came} and gave {name} no token; look at [login] in {file}.")
    person = Person(name, headers, {"username": values.get("name", ""), "password": values.get("password", "")}, answer)
    asker.secrets[person.token] = f"${name.upper()}_TOKEN"
    return person


def signed_in(answer: httpx.Response | None, login: Login) -> dict[str, str]:
    """The headers of somebody who has logged in; {} if that failed."""
    if answer is None or not (answer.is_success or answer.is_redirect):
        return {}
    if token := token_in(answer, login.token):
        name, _, value = login.header.partition(":")
        return {name.strip(): string.Template(value.strip()).safe_substitute(token=token)}
    cookies = [line.split(";")[0] for line in answer.headers.get_list("set-cookie")]
    return {"Cookie": "; ".join(cookies)} if cookies else {}


def token_in(answer: httpx.Response, path: str = "") -> str:
    """The token in a JSON answer: at `path`, or under a name that tokens have."""
    try:
        value: Any = answer.json()
    except ValueError:
        return ""
    if path:
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value if isinstance(value, str) else ""
    return next((str(found) for name in TOKEN_NAMES if (found := _under(value, name))), "")


def _under(value: Any, name: str) -> str:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.lower() == name and isinstance(inner, str) and len(inner) >= 16:
                return inner
        return next((found for inner in value.values() if (found := _under(inner, name))), "")
    return ""


def _filled(file: Path, text: str, values: Mapping[str, str]) -> str:
    try:
        return string.Template(text).substitute(values)
    except (KeyError, ValueError) as error:
        raise AuditError(f"{file} asks for {error}, which is not set in the environment.") from error


def _filled_in(file: Path, value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled_in(file, inner, values) for key, inner in value.items()}
    return _filled(file, value, values) if isinstance(value, str) else value
