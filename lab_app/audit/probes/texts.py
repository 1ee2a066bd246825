"""What is sent where any text may stand: quotes, tags, templates, addresses, paths."""

import html
import json
import re
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

import httpx

from lab_app.audit.examples import resolved
from lab_app.audit.operations import Operation, Parameter
from lab_app.audit.people import NOBODY, Person
from lab_app.audit.site import Seen, Site, is_html

# What is plain, what is true, what is false, and what is no SQL: a search engine takes the second and the last alike.
CONDITIONS = (
    ("{0}", "{0}' OR '17'='17' -- ", "{0}' OR '17'='71' -- ", "{0}' OO '17'='17' -- "),
    ("0", "0 OR 17=17", "0 OR 17=71", "0 OO 17=17"),
)
SORTED = (("1,(SELECT 1)", "1,(SELEKT 1)"), (",(SELECT 1)", ",(SELEKT 1)"))
Ask = Callable[[str], "httpx.Response | None"]
ADDRESSES = re.compile(r"ur[il]|next|redirect|return|continue|dest|target|goto|callback|^to$", re.I)
FILES = re.compile(r"file|path|doc|page|template|image|img|attach|download|folder|dir|name", re.I)
PASSWD = re.compile(r"^root:.*:0:0:", re.M)
ELSEWHERE = ("https://audit.example/", "//audit.example/", "/\\audit.example/")
SEARCHES = re.compile(r"search|filter|query|find|look-?up|report|list", re.I)
DEEPEST = 3  # objects within objects of a body
Path = tuple[Any, ...]
PRODUCT = "{{1337*7331}}", "9801547"


def probe(seen: Seen) -> None:
    """Try every parameter that takes text."""
    for each in seen.operation.parameters:
        if each.takes_text:
            sql(seen, each)
        if each.takes_text and each.place in ("path", "query"):
            tag(seen, each)
            if each.place == "query" and ADDRESSES.search(each.name):
                redirect(seen, each)
            if FILES.search(each.name):
                file(seen, each)


def bodies(site: Site, operation: Operation, person: Person) -> None:
    """Quotation marks in each text of a body; conditions and orders too where it only asks for something."""
    sent = operation.request()
    asks = SEARCHES.search(operation.path.rpartition("/")[2]) or SEARCHES.search(operation.name)
    for kind in ("json", "form"):
        body = sent.get(kind)
        for path in [*places(body), *_left_out(operation, body)]:

            def ask(text: str, kind: str = kind, body: Any = body, path: Path = path) -> httpx.Response | None:
                return site.send(sent | {kind: put(body, path, text)}, person)

            name = ".".join(map(str, path))
            if quotes(site, operation.where, name, ask) or (asks and conditions(site, operation.where, name, ask)):
                return
            if asks:
                order(site, operation.where, name, ask)


def login(site: Site) -> None:
    """The body of the login, while no limit has been reached."""
    method, _, path = site.login.partition(" ")
    if operation := site.at(method, path):
        bodies(site, operation, NOBODY)


def places(body: Any, depth: int = 0) -> Iterator[Path]:
    """Where the texts of a body are: keys of objects and places of lists."""
    if isinstance(body, dict | list) and depth < DEEPEST:
        for key, value in body.items() if isinstance(body, dict) else enumerate(body[:1]):
            yield from [(key,)] if isinstance(value, str) else [(key, *path) for path in places(value, depth + 1)]


def put(body: Any, path: Path, text: str) -> Any:
    """A body with a text at a place."""
    key, *rest = path
    new = dict(body) if isinstance(body, dict) else list(body)
    new[key] = put(new[key], tuple(rest), text) if rest else text
    return new


def _left_out(operation: Operation, body: Any) -> Iterator[Path]:
    """Members that may have a text and that an example leaves out."""
    members = resolved(operation.body, operation.document).get("properties")
    for name, schema in members.items() if isinstance(members, dict) and isinstance(body, dict) else ():
        if name not in body and isinstance(schema, dict) and Parameter(name, "body", False, schema).takes_text:
            yield (name,)


def sql(seen: Seen, each: Parameter) -> None:
    """Quotation marks, conditions, and an order to sort in."""

    def ask(value: str) -> httpx.Response | None:
        return seen.ask({each.name: value})

    site, where = seen.site, seen.operation.where
    if not quotes(site, where, each.name, ask) and not conditions(site, where, each.name, ask):
        order(site, where, each.name, ask)


def quotes(site: Site, where: str, name: str, ask: Ask) -> bool:
    """One that breaks a query, and a second one that mends it."""
    plain = secrets.token_hex(4)
    calm, one, two = ask(plain), ask(f"{plain}'"), ask(f"{plain}''")
    site.looked.add("sql-injection")
    if calm is None or one is None or two is None or calm.status_code == 500 or two.status_code != calm.status_code:
        return False
    said = f"One quotation mark in {name} breaks it, two do not."
    return site.suspect("sql-injection", where, said, one, lambda answer: answer.status_code == 500, [two])


def conditions(site: Site, where: str, name: str, ask: Ask) -> bool:
    """One that is always true, and finds more than one that never is."""
    for row in CONDITIONS:
        plain, yes, no, nonsense = (text.format(secrets.token_hex(4)) for text in row)
        true, false = ask(yes), ask(no)
        if true is None or false is None or not true.is_success:
            continue
        more, less = gist(true, yes), gist(false, no)
        if len(less[1]) >= len(more[1]):
            continue
        calm, third = ask(plain), ask(nonsense)
        if calm is None or third is None or gist(third, nonsense) == more or gist(calm, plain) != less:
            continue
        said = f"A condition in {name} that is always true finds more than one that never is."
        if site.suspect("sql-injection", where, said, true, partial(_says, more, yes), [false]):
            return True
    return False


def order(site: Site, where: str, name: str, ask: Ask) -> None:
    """Where a word that is no column is refused, a subquery must be too."""
    calm = ask(f"audit{secrets.token_hex(4)}")  # never a number, which may stand there
    for right, wrong in SORTED if calm is not None and calm.status_code >= 400 else ():
        good, bad = ask(right), ask(wrong)
        if bad is not None and bad.status_code >= 400:
            said = f"A subquery in {name} is run."
            site.suspect("sql-injection", where, said, good, lambda each: each.is_success, [bad])


def _says(expected: tuple[int, str], sent: str, answer: httpx.Response) -> bool:
    return gist(answer, sent) == expected


def gist(answer: httpx.Response, sent: str) -> tuple[int, str]:
    """An answer without what was sent, however it is spelled."""
    text = answer.text
    spellings = {html.escape(sent), json.dumps(sent)[1:-1], quote(sent), quote_plus(sent), sent, sent.strip()}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, "")
    return answer.status_code, " ".join(text.split())


def tag(seen: Seen, each: Parameter) -> None:
    """A tag, and a template that would be worked out."""
    mark = f"<i>audit{secrets.token_hex(4)}</i>"
    answer = seen.ask({each.name: mark + PRODUCT[0]})

    def given_back(answer: httpx.Response) -> bool:
        return is_html(answer) and mark in answer.text

    def worked_out(answer: httpx.Response) -> bool:
        return PRODUCT[1] in answer.text

    where = seen.operation.where
    seen.site.suspect("script-in-page", where, f"The tag in {each.name} came back as a tag.", answer, given_back)
    seen.site.suspect("runs-templates", where, f"The template in {each.name} was worked out.", answer, worked_out)


def redirect(seen: Seen, each: Parameter) -> None:
    """An address elsewhere, in what looks like a parameter for one, whole and as a browser understands it too."""

    def leaves(answer: httpx.Response) -> bool:
        return answer.is_redirect and answer.headers.get("location", "").startswith(ELSEWHERE)

    for address in ELSEWHERE:
        said = f"The address in {each.name} is where it sends a browser."
        if seen.site.suspect("redirects-anywhere", seen.operation.where, said, seen.ask({each.name: address}), leaves):
            return


def file(seen: Seen, each: Parameter) -> None:
    """A path that leaves the folder."""
    answer = seen.ask({each.name: "../" * 8 + "etc/passwd"})
    said = f"A path in {each.name} gives out /etc/passwd."
    seen.site.suspect("reads-files", seen.operation.where, said, answer, lambda each: bool(PASSWD.search(each.text)))
