"""1.4 Whose loan is it?: how it is used, and how it is attacked."""

import time
from collections.abc import Callable
from itertools import product
from typing import Any

import httpx

from checks.accounts import settled
from checks.attacks import bearer, forge
from lab_app.harness import REFUSED, App, attack, exercise, expect, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import COST, Member, hashed


def loan(app: App, method: str, path: str, token: str) -> httpx.Response:
    """Ask for something under a path as the bearer of a token."""
    return app.api.request(method, path, headers=bearer(token))


def ways(id_: object) -> tuple[tuple[str, str], ...]:
    """The two ways to a loan."""
    return ("GET", f"/loans/{id_}"), ("POST", f"/loans/{id_}/renew")


def change_email(app: App, username: str, token: str, /, email: str, **more: Any) -> httpx.Response:
    """Change a member's e-mail address; `more` goes along in the body."""
    return app.api.patch(f"/members/{username}", json={"email": email, **more}, headers=bearer(token))


def due(app: App, id_: int) -> str:
    """When a loan is due."""
    return str(app.sql("SELECT due_on FROM loans WHERE id = ?", id_)[0][0])


def everything(app: App) -> list[list[Any]]:
    """All members and all loans, once nobody is writing any more."""
    settled(app)
    return app.sql("SELECT * FROM members ORDER BY id") + app.sql("SELECT * FROM loans ORDER BY id")


def join(app: App, username: str, draw: Draw) -> Member:
    """Somebody who has become a member under this name."""
    email, password = draw.email(), draw.passphrase()
    add = "INSERT INTO members (username, email, password_hash) VALUES (?, ?, ?)"
    app.sql(add, username, email, hashed(password, COST))
    [[id_]] = app.sql("SELECT id FROM members WHERE username = ?", username)
    return Member(id_, username, email, password)


def unknown_loan(app: App, draw: Draw) -> int:
    """An id like the others that no loan has."""
    known = {id_ for pair in app.library.loans.values() for id_ in pair}
    return next(id_ for id_ in iter(lambda: draw.number(1_000, 90_000), 0) if id_ not in known)


def renew(app: App, id_: int, token: str) -> None:
    """Renew a loan: it is due later than it was, and no other is. Raises CheckFailed."""
    others = "SELECT * FROM loans WHERE id <> ? ORDER BY id"
    before, rest = due(app, id_), app.sql(others, id_)
    expect(loan(app, "POST", f"/loans/{id_}/renew", token), 200, "refused to renew a loan for somebody who may")
    later = app.eventually("SELECT due_on FROM loans WHERE id = ? AND due_on > ?", id_, before)
    assert later, f"answered 200 to a renewal and left the loan due on {due(app, id_)}; it was {before}"
    assert app.sql(others, id_) == rest, "renewed a loan and changed others as well"


@exercise("1.4")
@legit("API1:2023", "ASVS 5.0 8.2.2")
def test_owners_see_and_renew_their_loans(app: App, ada: Member, bob: Member) -> None:
    """Members see their own loans, both of them, and can renew them.

    A door that is shut to everybody protects nothing that anybody wants.

    Hint: read the loan and compare its `member_id` with the id of the member whose token it is.
    """
    for member in (ada, bob):
        token = forge(app, member.username)
        for id_ in app.library.loans[member.username]:
            expect(loan(app, "GET", f"/loans/{id_}", token), 200, "hid a loan from its owner")
        renew(app, id_, token)


@exercise("1.4")
@legit("API5:2023", "ASVS 5.0 8.2.1")
def test_staff_see_and_renew_all_loans(app: App, ada: Member, bob: Member, staff: Member) -> None:
    """Staff see and renew everybody's loans, and list the members.

    That is their job. Their token says who they are, and the database that they are staff.

    Hint: allow the owner or somebody whose `role` in `members` is `staff`.
    """
    token = forge(app, staff.username)
    for member in (ada, bob):
        id_ = app.library.loans[member.username][0]
        expect(loan(app, "GET", f"/loans/{id_}", token), 200, "hid a loan from the staff")
        renew(app, id_, token)
    expect(loan(app, "GET", "/members", token), 200, "hid the members from the staff")


@exercise("1.4")
@legit("API1:2023", "ASVS 5.0 8.2.2")
def test_email_is_changed_by_its_member_and_by_staff(
    app: App, ada: Member, bob: Member, staff: Member, draw: Draw
) -> None:
    """Members change their own e-mail address, and staff change anybody's.

    The change lands in the row of that member and in no other.

    Hint: `UPDATE members SET email = … WHERE username = …`, with the name from the path.
    """
    pattern = join(app, f"{bob.username[:-1]}_", draw)  # LIKE takes her name for Bob's as well
    for who, whose in ((ada, ada), (staff, bob), (staff, staff), (pattern, pattern)):
        email, others = draw.email(), "SELECT * FROM members WHERE username <> ? ORDER BY id"
        before = app.sql(others, whose.username)
        answer = change_email(app, whose.username, forge(app, who.username), email=email)
        expect(answer, 200, "refused a change of e-mail address to somebody who may make it")
        row = "SELECT id FROM members WHERE username = ? AND email = ?"
        assert app.eventually(row, whose.username, email), "answered 200 and did not change the e-mail address"
        assert app.sql(others, whose.username) == before, "changed another member as well"


@exercise("1.4")
@legit("ASVS 5.0 8.3.2")
def test_a_promotion_counts_at_once(launch: Callable[..., App]) -> None:
    """A member who joins the staff may do what staff may, with the token of the day before.

    If the role is read from the database, nobody has to log in again.

    Hint: read `role` along with the member, on every request.
    """
    app = launch()
    ada, bob = app.library.ada, app.library.bob
    token = forge(app, bob.username, role="member")
    loan(app, "GET", "/members", token)  # for an app that remembers what it has seen
    app.sql("UPDATE members SET role = 'staff' WHERE id = ?", bob.id)
    expect(loan(app, "GET", "/members", token), 200, "did not notice that a member has joined the staff")
    for id_ in app.library.loans[ada.username]:
        expect(loan(app, "GET", f"/loans/{id_}", token), 200, "did not notice that a member has joined the staff")


@exercise("1.4")
@attack("API1:2023", "CWE-639")
def test_other_peoples_loans_are_not_found(app: App, ada: Member, bob: Member, staff: Member) -> None:
    """Somebody else's loan is 404, to see and to renew, and stays as it is.

    Ids are guessed by counting. What stands behind them is what somebody reads, and when they are not at home.

    Hint: one dependency that finds a loan for a member, used by every route with a loan in its path.
    """
    before = everything(app)
    for who, whose in ((bob, ada), (ada, bob), (bob, staff)):
        token = forge(app, who.username)
        for id_ in app.library.loans[whose.username]:
            for way in ways(id_):
                expect(loan(app, *way, token), 404, "did not answer 404 for somebody else's loan")
    assert everything(app) == before, "changed a loan or a member although it had refused"


@exercise("1.4")
@attack("API1:2023", "CWE-204")
def test_unknown_loans_are_not_found_either(app: App, bob: Member, staff: Member, draw: Draw) -> None:
    """A loan that does not exist is 404, just as one that is somebody else's.

    If the two differ, counting through the ids tells how many loans there are and which.

    Hint: raise the same HTTPException in both cases. 403 says: it exists.
    """
    for who in (bob, staff):
        token = forge(app, who.username)
        for id_ in (unknown_loan(app, draw), unknown_loan(app, draw), 10**9 + draw.number(1, 10**6)):
            for way in ways(id_):
                expect(loan(app, *way, token), 404, "did not answer 404 for a loan that does not exist")


@exercise("1.4")
@attack("CWE-20", "CWE-755")
def test_odd_ids_find_nothing(app: App, ada: Member, bob: Member, staff: Member, draw: Draw) -> None:
    """Zero, negative, huge and text ids are 404 or 422, and never a crash.

    A number beyond 64 bits fits into Python and not into the database.

    Hint: what cannot be an id is not found. Bound the number, or catch what the driver raises.
    """
    before, theirs = everything(app), app.library.loans[ada.username][0]
    numbers = (0, -1, -theirs, 2**63, 2**64 + theirs, -(2**63) - 1, 10**30, 10**400)
    texts = (draw.username(), "null", "1e3", "NaN", "%00", "%27%20OR%201=1--", "*", "٣", "ⅷ")
    disguised = (f"{theirs}.0", f"0{theirs}", f"%20{theirs}", f"{theirs}%00", f"{theirs}%20OR%201=1", f"%2B{theirs}")
    for id_ in (*numbers, *texts, *disguised):
        for way in ways(id_):
            expect(loan(app, *way, forge(app, bob.username)), (404, 422), "found a loan where there is none")
    mine = app.library.loans[bob.username][0]
    for who, way in product((bob, staff), ways(-mine)):
        expect(
            loan(app, *way, forge(app, who.username)), (404, 422), "took a negative id for the loan without its sign"
        )
    assert everything(app) == before, "changed a loan or a member although it had refused"


@exercise("1.4")
@attack("CWE-647", "API5:2023")
def test_no_other_way_leads_around(app: App, ada: Member, bob: Member, draw: Draw) -> None:
    """HEAD, OPTIONS, other methods and other spellings of a path tell nothing and change nothing.

    A guard that compares methods and paths misses the one that you did not think of.

    Hint: guard the function that reads the loan, not its address.
    """
    before, token = everything(app), forge(app, bob.username)
    theirs, nobodys = app.library.loans[ada.username][0], unknown_loan(app, draw)
    paths = ("/loans/{}", "/loans/{}/", "/LOANS/{}", "/Loans/{}", "/%6Coans/{}")
    tries = [(method, path) for path in paths for method in ("GET", "HEAD")]
    tries += [("POST", f"{path.rstrip('/')}/{renew}") for path in paths for renew in ("renew/", "RENEW", "%72enew")]
    tries += [(method, "/loans/{}/renew") for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE")]
    tries += [(method, "/loans/{}") for method in ("POST", "PUT", "PATCH", "DELETE")]
    for method, path in tries:
        answer = expect(loan(app, method, path.format(theirs), token), range(300, 500), "let somebody else at a loan")
        unknown = loan(app, method, path.format(nobodys), token)
        expect(unknown, answer.status_code, "answered one way for a loan that exists and another way for none")
    for path in ("/loans/{}", "/loans/{}/renew"):
        answer = expect(loan(app, "OPTIONS", path.format(theirs), token), range(200, 500), "did not answer OPTIONS")
        unknown = loan(app, "OPTIONS", path.format(nobodys), token)
        expect(unknown, answer.status_code, "answered one way for a loan that exists and another way for none")
    for method, path in (("HEAD", "/members"), ("GET", "/members/"), ("GET", "/MEMBERS"), ("GET", "/%6Dembers")):
        expect(loan(app, method, path, token), range(300, 500), "listed the members for a member")
    for path in (f"/members/{ada.username}/", f"/MEMBERS/{ada.username}", f"/%6Dembers/{ada.username}"):
        for method in ("PATCH", "PUT", "POST", "DELETE"):
            app.api.request(method, path, json={"email": draw.email()}, headers=bearer(token))
    assert everything(app) == before, "changed a loan or a member although it had refused"


@exercise("1.4")
@attack("API5:2023", "ASVS 5.0 8.2.1")
def test_members_list_is_for_staff(app: App, ada: Member, bob: Member, disabled: Member) -> None:
    """Members who ask for the list of members get 403.

    Names and addresses of everybody are what a thief wants first.

    Hint: a dependency that raises 403 unless the role in the database is `staff`.
    """
    for member in (ada, bob):
        expect(loan(app, "GET", "/members", forge(app, member.username)), 403, "did not refuse the list with 403")
        answer = loan(app, "GET", "/members?role=staff&is_staff=true", forge(app, member.username))
        expect(answer, 403, "did not refuse the list with 403")
    expect(loan(app, "GET", "/members", forge(app, disabled.username)), REFUSED, "listed the members")


@exercise("1.4")
@attack("CWE-269", "ASVS 5.0 8.3.2")
def test_role_in_the_token_means_nothing(app: App, ada: Member, bob: Member, staff: Member, draw: Draw) -> None:
    """A token that claims a role, or somebody else's id, gives no right; one that claims less takes none away.

    Whoever signs tokens for another purpose, or signed one last year, does not decide who is staff today.

    Hint: take `sub` from the token, and everything else from the database.
    """
    before = everything(app)
    claims: tuple[dict[str, Any], ...] = (
        {"role": "staff"},
        {"roles": ["staff"], "scope": "staff admin", "scopes": ["staff"], "groups": ["staff"], "permissions": ["*"]},
        {"is_staff": True, "staff": True, "admin": True, "is_admin": True, "username": staff.username},
        {"id": ada.id, "member_id": ada.id, "user_id": ada.id, "uid": ada.id, "username": ada.username},
    )
    for claim in claims:
        token = forge(app, bob.username, **claim)
        expect(loan(app, "GET", "/members", token), 403, "believed what a token says of its bearer")
        for way in ways(app.library.loans[ada.username][0]):
            expect(loan(app, *way, token), 404, "believed what a token says of its bearer")
        answer = change_email(app, ada.username, token, email=draw.email())
        expect(answer, (403, 404), "believed what a token says of its bearer")
    assert everything(app) == before, "changed a loan or a member although it had refused"
    modest = forge(app, staff.username, role="member", roles=[], is_staff=False)
    expect(loan(app, "GET", "/members", modest), 200, "took the role from the token and not from the database")


@exercise("1.4")
@attack("CWE-613", "ASVS 5.0 8.3.2")
def test_a_demotion_counts_at_once(launch: Callable[..., App], draw: Draw) -> None:
    """Somebody who has left the staff has no more rights than a member, also with a token from before.

    People are demoted for a reason, and the reason does not wait until a token expires.

    Hint: do not keep roles in the token, in a cache or in a global.
    """
    app = launch()
    ada, staff = app.library.ada, app.library.staff
    token = forge(app, staff.username, role="staff")
    id_ = app.library.loans[ada.username][0]
    for path in ("/members", f"/loans/{id_}"):
        loan(app, "GET", path, token)  # for an app that remembers what it has seen
    app.sql("UPDATE members SET role = 'member' WHERE id = ?", staff.id)
    before = everything(app)
    expect(loan(app, "GET", "/members", token), 403, "still took a former member of the staff for one")
    for way in ways(id_):
        expect(loan(app, *way, token), 404, "still took a former member of the staff for one")
    answer = change_email(app, ada.username, token, email=draw.email())
    expect(answer, (403, 404), "still took a former member of the staff for one")
    assert everything(app) == before, "changed a loan or a member although it had refused"


@exercise("1.4")
@attack("API3:2023", "CWE-915", "ASVS 5.0 15.3.3")
def test_nobody_promotes_themselves(launch: Callable[..., App], draw: Draw) -> None:
    """More than an e-mail address in the body of PATCH changes nothing but the e-mail address.

    Whoever writes the whole body into the row lets members write their own role.

    Hint: name the fields that may change. A model with `email` alone leaves the others out.
    """
    app = launch()
    ada, bob = app.library.ada, app.library.bob
    rest = "SELECT id, username, password_hash, role, disabled FROM members ORDER BY id"
    before = app.sql(rest)
    extras: tuple[dict[str, Any], ...] = (
        {"role": "staff"},
        {"disabled": 1, "password_hash": "", "is_staff": True},
        {"id": ada.id, "member": {"role": "staff"}},
        {"role = 'staff', email": draw.email()},
        {"username": draw.username()},
    )
    for extra in extras:
        answer = change_email(app, bob.username, forge(app, bob.username), email=draw.email(), **extra)
        expect(answer, range(200, 500), "did not answer a body with more fields")
        settled(app)
        assert app.sql(rest) == before, f"let a member change {' and '.join(extra)}"
    expect(loan(app, "GET", "/members", forge(app, bob.username)), 403, "let a member join the staff")


@exercise("1.4")
@attack("API1:2023", "CWE-204")
def test_other_members_cannot_be_changed_or_told_apart(
    app: App, ada: Member, bob: Member, staff: Member, disabled: Member, draw: Draw
) -> None:
    """PATCH on anybody else is 403 or 404, the same whether the name exists or not, and changes nothing.

    Whoever owns the e-mail address owns the account, by way of the next password reset.

    Hint: decide by the name in the path and the member of the token before you look anything up. Compare them whole.
    """
    alike = [join(app, name, draw).username for name in (bob.username.upper(), f"{bob.username}2")]
    before, seen = everything(app), set()
    unknown = (draw.username(), draw.username(), f"{ada.username}1", ada.username[:-1])
    for name in (ada.username, staff.username, disabled.username, *alike, *unknown):
        for email in (draw.email(), ada.email):
            answer = change_email(app, name, forge(app, bob.username), email=email)
            seen.add(expect(answer, (403, 404), "did not refuse to change somebody else").status_code)
    assert len(seen) == 1, "answered 403 for some names and 404 for others, which tells who is a member"
    assert everything(app) == before, "changed a loan or a member although it had refused"


@exercise("1.4")
@attack("API2:2023", "CWE-306")
def test_nobody_comes_in_without_a_token(app: App, ada: Member, staff: Member, disabled: Member, draw: Draw) -> None:
    """Without a token, or with one that 1.1 refuses, every route refuses.

    A role is worth as much as the proof of who has it.

    Hint: one dependency for all routes, that of 1.1.
    """
    before, id_ = everything(app), app.library.loans[ada.username][0]
    now = int(time.time())
    forged = (
        forge(app, staff.username, key=draw.secret()),
        forge(app, staff.username, alg="none"),
        forge(app, staff.username, alg="HS512"),
        forge(app, staff.username, iat=now - 7200, exp=now - 3600),
        forge(app, staff.username, aud=draw.username()),
        forge(app, staff.username, iss=draw.username()),
        *(forge(app, staff.username, without=[claim]) for claim in ("exp", "iat", "iss", "aud")),
        forge(app, draw.username()),
    )
    for headers in ({}, *map(bearer, forged)):
        for method, path in (*ways(id_), ("GET", "/members")):
            expect(app.api.request(method, path, headers=headers), REFUSED, "let nobody in particular in")
        patch = app.api.patch(f"/members/{ada.username}", json={"email": draw.email()}, headers=headers)
        expect(patch, REFUSED, "let nobody in particular change a member")
    gone = change_email(app, disabled.username, forge(app, disabled.username), email=draw.email())
    expect(gone, REFUSED, "let a disabled member in")
    assert everything(app) == before, "changed a loan or a member although it had refused"
