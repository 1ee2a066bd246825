"""Functions that are not for everybody: what is called the administrators', and other people's accounts."""

import re

import httpx

from lab_app.audit.people import NOBODY
from lab_app.audit.site import Seen, Site, address_of, is_html, json_of

ADMIN = re.compile(r"/(admin|administration|administrator|backoffice|superuser)s?(/|$)", re.I)
OPEN = re.compile(r"/(log-?in|log-?out|sign-?in|token|auth|health\w*|ping|status|version|ready|live\w*)/?$", re.I)


def probe(seen: Seen) -> None:
    """Look at what strangers and B were given."""
    _admin(seen)
    _account(seen)


def accounts(site: Site) -> None:
    """With --active: look again at what can be listed, now that there is something of A's."""
    for operation in site.operations:
        if operation.method == "GET" and "{" not in operation.path:
            seen = Seen(site, operation, {})
            seen.nobody, seen.b = seen.ask(person=NOBODY), seen.ask(person=site.b)
            _account(seen)


def _admin(seen: Seen) -> None:
    """What is under /admin, given to a stranger or to somebody who has just registered."""
    site, operation = seen.site, seen.operation
    if not ADMIN.search(operation.path) or OPEN.search(operation.path):
        return
    site.looked.add("admin-for-everybody")
    given = [("A stranger", seen.nobody)] + ([("Whoever registers", seen.b)] if site.register else [])
    for who, answer in given:
        said = f"{who} is answered."
        if site.suspect("admin-for-everybody", operation.where, said, answer, _says_something):
            return


def _account(seen: Seen) -> None:
    """A's e-mail address, which nobody but A has sent, in what a stranger or B reads."""
    site, address = seen.site, address_of(seen.site.a)
    if not address or site.b is NOBODY or address == address_of(site.b):
        return
    site.looked.add("somebody-elses-account")

    def shows(answer: httpx.Response) -> bool:
        return answer.is_success and address in answer.text.lower()

    for who, answer in (("A stranger", seen.nobody), ("B", seen.b)):
        said = f"{who} reads A's e-mail address."
        if site.suspect("somebody-elses-account", seen.operation.where, said, answer, shows):
            return


def _says_something(answer: httpx.Response) -> bool:
    return answer.is_success and not is_html(answer) and bool(json_of(answer))
