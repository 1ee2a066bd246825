"""10.5 The audit: what an audit finds in apps with one flaw, in apps with none, and in one with many."""

from collections.abc import Callable, Iterator

import pytest

from checks.audits import BY_HTTP, FLAWS, SHOWN_BY, Audit, Finding, message, response, same, seen, send
from checks.calls import many
from lab_app.harness import attack, exercise, legit
from lab_app.harness.draw import Draw
from lab_app.harness.world import Answer, Desk
from lab_app.larkspur.audited import Audited, words
from lab_app.runner.client import Bounds, client
from lab_app.runner.services.advisories import Advisories, frozen

LEFT_OUT = ("signature", "names", "html", "traceback")  # of the app with many flaws, so that not all is wrong there
RECALL, PRECISION = 0.8, 0.9
Auditing = Callable[..., Audit]
Proving = Callable[[Audit, str], bool]


@pytest.fixture(scope="session")
def advisories() -> Iterator[Advisories]:
    """The advisories as they stood, for all checks of a run."""
    service = Advisories(frozen()).start()
    yield service
    service.stop()


@pytest.fixture
def audit(desk: Desk, draw: Draw, advisories: Advisories) -> Iterator[Auditing]:
    """Have the cell's `audit` look at an app that is written for this check, and ends with it."""
    apps: list[Audited] = []

    def audit(*flaws: str, twin: str = "") -> Audit:
        app = Audited(words(draw), flaws, twin).start()
        apps.append(app)
        about = {"base_url": app.url, "source": app.source, "requirements": app.requirements}
        (call,) = many(desk, "audit", [about], OSV_URL=advisories.url)
        return Audit(call, app)

    yield audit
    for app in apps:
        app.stop()


@pytest.fixture
def proves(answer: Answer) -> Proving:
    """Whether a finding's evidence replays, and the app would answer otherwise if just that flaw were mended."""

    def replays(app: Audited, mended: Audited, finding: Finding) -> bool:
        bounds = Bounds(answer.deadline, answer.sandbox.limits.body)
        try:
            request = message(finding.evidence.get("request"), "method", "path")
            told = response(finding.evidence.get("response"))
        except (ValueError, TypeError, AttributeError):
            return False
        app.forget()
        mended.forget()
        with (
            client(app.served.port, bounds, answer.record) as http,
            client(mended.served.port, bounds, answer.record) as other,
        ):
            first = send(http, request)
            if first is None or not same(first, told):
                return False
            there, here = seen(first), seen(send(other, request))
            for _ in range(SHOWN_BY):
                if there != here:
                    return True
                there, here = seen(send(http, request)), seen(send(other, request))
        return there != here

    def proves(audit: Audit, name: str) -> bool:
        mended = audit.app.without(name).start()
        try:
            return any(replays(audit.app, mended, finding) for finding in audit.named[name])
        finally:
            mended.stop()

    return proves


@exercise("10.5")
@legit("WSTG 5 Reporting §3.2")
def test_nothing_is_found_where_nothing_is(audit: Auditing) -> None:
    """An app without a flaw has no findings.

    Who is called out for nothing three times does not come the fourth time.

    Hint: report what you have seen go wrong, not what you miss.
    """
    audit().expect_nothing()


@exercise("10.5")
@attack("CWE-942", "ASVS 5.0 3.4.2")
def test_star_without_credentials_is_left_alone(audit: Auditing) -> None:
    """A public API that lets every origin read, without credentials, is no finding.

    What everybody may read anyway, every page may read.

    Hint: it is the pair that hurts: the origin that asked, and `Access-Control-Allow-Credentials: true`.
    """
    audit(twin="star").expect_nothing()


@exercise("10.5")
@attack("ASVS 5.0 13.4.5")
def test_docs_in_development_are_left_alone(audit: Auditing) -> None:
    """`/docs` that is on in development only is no finding.

    The OpenAPI document is public here, and the page shows nothing else.

    Hint: look at what turns it on, not at whether it is there.
    """
    audit(twin="docs").expect_nothing()


@exercise("10.5")
@attack("CWE-352", "ASVS 5.0 3.5.1")
def test_bearer_without_csrf_token_is_left_alone(audit: Auditing) -> None:
    """A form without a CSRF token is no finding where a bearer token is asked for.

    A browser sends cookies by itself, and never an `Authorization` that a page of Mallory's would need.

    Hint: without a cookie there is nothing to forge.
    """
    audit(twin="form").expect_nothing()


@exercise("10.5")
@attack("CWE-347", "ASVS 5.0 9.1.1")
def test_a_token_that_nobody_signed(audit: Auditing) -> None:
    """Section 1: an app that reads tokens without checking their signature.

    Everybody is whoever they say they are.

    Hint: log in, change the token, and ask again.
    """
    audit("signature").expect_found("signature")


@exercise("10.5")
@attack("CWE-639", "ASVS 5.0 8.2.2")
def test_a_loan_of_somebody_else(audit: Auditing) -> None:
    """Section 1: an app that shows a member the loan of another one.

    Whoever audits with one account never sees it.

    Hint: register two people. What one made, the other asks for.
    """
    audit("loan").expect_found("loan")


@exercise("10.5")
@attack("CWE-204", "ASVS 5.0 6.3.8")
def test_a_login_that_tells_who_exists(audit: Auditing) -> None:
    """Section 1: a login that answers otherwise to names that nobody has.

    First one learns who is there, then one guesses.

    Hint: compare a wrong password with an unknown name.
    """
    audit("names").expect_found("names")


@exercise("10.5")
@attack("CWE-348", "ASVS 5.0 15.3.4")
def test_an_address_that_anybody_can_write(audit: Auditing) -> None:
    """Section 2: an app that takes `X-Forwarded-For` from anybody.

    Logs, limits and allow-lists believe it.

    Hint: send one, and look for it in what comes back.
    """
    audit("proxy").expect_found("proxy")


@exercise("10.5")
@attack("CWE-942", "ASVS 5.0 3.4.2")
def test_any_origin_with_credentials(audit: Auditing) -> None:
    """Section 3: an app that lets every origin read with credentials.

    Any page that Ada visits reads what she may read.

    Hint: send an `Origin` that nobody can have listed.
    """
    audit("cors").expect_found("cors")


@exercise("10.5")
@attack("CWE-915", "ASVS 5.0 15.3.3")
def test_a_role_that_one_gives_oneself(audit: Auditing) -> None:
    """Section 4: a profile that takes the role from the body.

    One PATCH, and Mallory is on the staff.

    Hint: send the field that you may not set, and read the profile again.
    """
    audit("role").expect_found("role")


@exercise("10.5")
@attack("CWE-307", "ASVS 5.0 6.3.1")
def test_a_login_without_limit(audit: Auditing) -> None:
    """Section 5: a login that takes any number of guesses.

    A list of the thousand commonest passwords is tried in a minute.

    Hint: guess a dozen times at an account of your own.
    """
    audit("guesses").expect_found("guesses")


@exercise("10.5")
@attack("CWE-200", "ASVS 5.0 13.3.2")
def test_a_secret_in_the_settings(audit: Auditing) -> None:
    """Section 6: a route that shows the key that signs the tokens.

    Whoever has it writes tokens of their own.

    Hint: ask every route that takes no token, and read what comes back.
    """
    audit("settings_shown").expect_found("settings_shown")


@exercise("10.5")
@attack("CWE-89", "ASVS 5.0 1.2.4")
def test_sql_in_a_search(audit: Auditing) -> None:
    """Section 7: a search that puts what was asked for into its SQL.

    It finds more than it should, and not only books.

    Hint: one quotation mark, or a condition that is always true, in every parameter.
    """
    audit("sql").expect_found("sql")


@exercise("10.5")
@attack("CWE-79", "ASVS 5.0 1.2.1")
def test_a_script_in_a_page(audit: Auditing) -> None:
    """Section 8: a page that gives back a tag as it was sent.

    A link to it runs Mallory's script in Ada's browser.

    Hint: only where the answer is HTML; in JSON a tag is text.
    """
    audit("html").expect_found("html")


@exercise("10.5")
@attack("CWE-1021", "ASVS 5.0 3.4.3", "ASVS 5.0 3.4.6")
def test_a_page_without_headers(audit: Auditing) -> None:
    """Section 8: a page without Content-Security-Policy and its companions.

    Nothing keeps it from being framed, or a script in it from running.

    Hint: look at the headers of what is HTML.
    """
    audit("headers").expect_found("headers")


@exercise("10.5")
@attack("CWE-1395", "ASVS 5.0 15.2.1")
def test_a_pin_with_an_advisory(audit: Auditing) -> None:
    """Section 9: a requirement that has a known flaw.

    It is the first thing that a scanner finds, Mallory's too.

    Hint: ask the service at `OSV_URL` about every pin, its version too; exercise 9.2 is half of the way.
    """
    for _ in range(3):
        audit("pin").expect_found("pin")


@exercise("10.5")
@attack("CWE-532", "ASVS 5.0 16.2.5")
def test_a_password_in_the_log(audit: Auditing) -> None:
    """Section 10: a login that writes the password into the log.

    No answer shows it; the source does.

    Hint: look at what is handed to the logger, by `ast` or by a regular expression.
    """
    audit("log").expect_found("log")


@exercise("10.5")
@attack("CWE-209", "ASVS 5.0 16.5.1")
def test_a_traceback_for_everybody(audit: Auditing) -> None:
    """Section 10: a route that answers nonsense with a traceback.

    It tells of paths, libraries and lines.

    Hint: send every parameter what it does not expect.
    """
    audit("traceback").expect_found("traceback")


@exercise("10.5")
@attack("WSTG 5 Reporting §3.2")
def test_many_flaws_at_once(audit: Auditing) -> None:
    """Of an app with ten flaws an audit finds eight, and nine of ten findings are true.

    Flaws hide behind each other, and a list of guesses hides them too.

    Hint: one probe that fails must not end the audit.
    """
    report = audit(*(name for name in FLAWS if name not in LEFT_OUT))
    missed = [report.place(name) for name, findings in report.named.items() if not findings]
    report.call.expect(report.recall >= RECALL, f"missed the flaws at {', '.join(missed)}")
    report.call.expect(report.precision >= PRECISION, f"reported {report.alarms}, where nothing is wrong")


@exercise("10.5")
@attack("WSTG 5 Reporting §3")
def test_evidence_replays(audit: Auditing, proves: Proving) -> None:
    """The evidence of a finding, sent again, gets the same answer, and one that shows the flaw.

    Somebody has to mend it, and begins by seeing it.

    Hint: keep the very request that showed it, headers and body included, and what came back.
    """
    report = audit(*BY_HTTP)
    unproven = [report.place(name) for name in BY_HTTP if not proves(report, name)]
    good = 1 - len(unproven) / len(BY_HTTP) >= RECALL
    report.call.expect(good, f"has no evidence that replays, and shows the flaw, for {', '.join(unproven)}")
