"""Logins, with --active: what a refusal tells, how many guesses are taken, what the cookie lets scripts do."""

import re
import secrets

import httpx

from lab_app.audit.site import Site

GUESSES = 30  # more than any limit that protects: ASVS 5.0 6.3.1 leaves the number to the app
NUMBERS = re.compile(r"\d+")


def who_exists(site: Site) -> None:
    """Compare a wrong password with an unknown name, each twice: what differs by itself is no sign."""
    name = site.a.known.get("username", "")
    if site.guess is None or not name:
        return
    site.looked.add("who-exists")
    fresh = secrets.token_hex(5)
    stem, at, host = name.partition("@")
    unknown = f"{stem[0]}{fresh}{at}{host}"
    wrong = f"Wr0ng!{fresh}{fresh}"
    # From another address than everything else, so that a limit by address says nothing about names.
    answers = [site.guess(each, wrong, stranger=True) for each in (name, unknown, name, unknown)]
    if any(each is None or each.is_success or each.status_code == 429 for each in answers):
        return
    one, other, again, _ = answers
    assert one is not None and other is not None and again is not None
    if _shape(one, name) != _shape(again, name):
        return

    def tells(answer: httpx.Response) -> bool:
        return _shape(answer, unknown) == _shape(other, unknown) != _shape(one, name)

    said = "A name that nobody has gets another answer than a wrong password."
    site.suspect("who-exists", site.login, said, answers[3], tells, [one])


def guesses(site: Site) -> None:
    """Guess at an account of our own; if the right password still works after that, nothing slowed the guesses down."""
    person = site.b if site.b.known else site.a
    name, password = person.known.get("username", ""), person.known.get("password", "")
    if site.guess is None or not name:
        return
    site.looked.add("no-limit-on-guesses")
    first = answer = site.guess(name, f"Wr0ng!{secrets.token_hex(8)}")
    for _ in range(GUESSES - 1):
        if answer is None or first is None or answer.status_code != first.status_code or answer.status_code == 429:
            return
        answer = site.guess(name, f"Wr0ng!{secrets.token_hex(8)}")
    if first is None or first.is_success or first.status_code not in (400, 401, 403, 404, 422):
        return
    right = site.guess(name, password)
    if right is None or right.status_code >= 400:
        return
    status = first.status_code

    def taken(answer: httpx.Response) -> bool:
        return answer.status_code == status

    said = f"{GUESSES} wrong passwords in a row for one account, then the right one, and it worked."
    site.suspect("no-limit-on-guesses", site.login, said, answer, taken)


def logged(site: Site) -> None:
    """Guess, and look for the guess in what the app wrote; only of an app that was started here is that known."""
    if site.guess is None or site.log is None:
        return
    log, marker = site.log, f"Wr0ng!{secrets.token_hex(8)}"

    def written(_: httpx.Response) -> bool:
        return marker in log.read_text(encoding="utf-8", errors="replace")

    answer = site.guess(site.a.known.get("username", "reader"), marker)
    site.suspect("secret-in-log", site.login, "The password that we sent is in the app's output.", answer, written)


def cookie(site: Site) -> None:
    """Look at the cookie that a login sets, if that is what logs in."""
    sent = site.a.sent
    if sent is None or "Cookie" not in site.a.headers:
        return
    names = {pair.split("=")[0].strip() for pair in site.a.headers["Cookie"].split(";")}

    def readable(answer: httpx.Response) -> bool:
        lines = [line.lower() for line in answer.headers.get_list("set-cookie")]
        ours = [line for line in lines if line.split("=")[0].strip() in {name.lower() for name in names}]
        return bool(ours) and all("httponly" not in line for line in ours)

    where = f"{sent.request.method} {sent.request.url.path}"
    site.suspect("cookie-for-scripts", where, "The cookie that logs in is set without HttpOnly.", sent, readable)


def _shape(answer: httpx.Response, name: str) -> tuple[int, str]:
    """An answer without the name that was sent and without numbers, such as a time or an id."""
    return answer.status_code, NUMBERS.sub("0", answer.text.replace(name, "")).strip()
