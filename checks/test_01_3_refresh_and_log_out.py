"""1.3 Refresh, log out, change password: how it is used, and how it is attacked."""

import time
from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from threading import Barrier

import httpx

from checks.accounts import log_in, me, newcomer, settled
from checks.attacks import ZONES, bearer
from lab_app.harness import REFUSED, App, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw

Session = tuple[str, str]  # an access token and a refresh token
CROWD = 2


def refresh(api: httpx.Client, token: str) -> httpx.Response:
    """Hand in a refresh token."""
    return api.post("/refresh", json={"refresh_token": token})


def log_out(api: httpx.Client, session: Session) -> httpx.Response:
    """End a session."""
    return api.post("/logout", json={"refresh_token": session[1]})


def change_password(api: httpx.Client, access: str, old: str, new: str) -> httpx.Response:
    """Change the password of whoever bears the access token."""
    return api.post("/password", json={"old": old, "new": new}, headers=bearer(access))


def soon(ask: Callable[[], httpx.Response], status: Container[int]) -> httpx.Response:
    """Ask until the status is the one wanted: an app may commit after it has answered. The last answer."""
    until = time.monotonic() + 2
    while (answer := ask()).status_code not in status and time.monotonic() < until:
        time.sleep(0.02)
    return answer


def session_in(app: App, answer: httpx.Response) -> Session:
    """The session that /token or /refresh has answered, once its access token works."""
    body = json_of(expect(answer, 200, "refused to open or go on with a good session"), "access_token", "refresh_token")
    settled(app)
    alive = soon(lambda: me(app.api, body["access_token"]), [200])
    expect(alive, 200, "refused an access token that it had just issued")
    return str(body["access_token"]), str(body["refresh_token"])


def join(app: App, draw: Draw) -> dict[str, str]:
    """Somebody who has registered."""
    person = newcomer(draw)
    expect(app.api.post("/register", json=person), 201, "refused to register a newcomer")
    app.eventually("SELECT id FROM members WHERE username = ?", person["username"])
    return person


@lru_cache(maxsize=8)
def reader(app: App, number: int = 1) -> dict[str, str]:
    """Somebody who has registered, for all checks that leave the password alone: hashing is most of what they take."""
    return join(app, Draw(app.answer.seed, app.folder, "reader", number))


def begin(app: App, person: dict[str, str]) -> Session:
    """A new session of somebody who has registered."""
    return session_in(app, log_in(app.api, person["username"], person["password"]))


def go_on(app: App, session: Session) -> Session:
    """The session after a refresh."""
    return session_in(app, refresh(app.api, session[1]))


def expect_dead(app: App, session: Session, when: str) -> None:
    """Neither token of the session is worth anything."""
    settled(app)
    still = soon(lambda: me(app.api, session[0]), REFUSED)
    expect(still, REFUSED, f"still took the session's access token {when}")
    expect(refresh(app.api, session[1]), REFUSED, f"still took the session's refresh token {when}")


@exercise("1.3")
@legit("RFC 6749 §6")
def test_refreshing_keeps_a_session_going(app_in: Callable[[str], App], draw: Draw) -> None:
    """A session goes on, refresh after refresh, in Tokyo and in New York.

    Access tokens are short-lived so that a stolen one soon dies. Refreshing spares the member the password.

    Hint: answer a new access token and a new refresh token, for the same member. Count time in UTC.
    """
    for zone in ZONES:
        app = app_in(zone)
        person = join(app, draw)
        session = begin(app, person)
        for _ in range(3):
            session = go_on(app, session)
        shown = json_of(expect(me(app.api, session[0]), 200, "refused a good access token"), "username")
        assert shown["username"] == person["username"], "gave a session to another member than the one who refreshed"


@exercise("1.3")
@legit("ASVS 5.0 7.4.1")
def test_logging_out_ends_one_session_only(app: App) -> None:
    """Logging out on one device leaves the member's other session, and everybody else's, alone.

    Somebody who logs out at the library's terminal is still reading at home.

    Hint: what you revoke has to name the session, not the member.
    """
    person, other = reader(app), reader(app, 2)
    home, terminal, theirs = begin(app, person), begin(app, person), begin(app, other)
    expect(log_out(app.api, terminal), 204, "did not log out")
    settled(app)
    for session in (home, theirs):
        expect(me(app.api, session[0]), 200, "ended another session than the one that logged out")
        go_on(app, session)
    begin(app, person)


@exercise("1.3")
@legit("ASVS 5.0 6.2.2", "ASVS 5.0 6.2.3")
def test_a_new_password_takes_the_place_of_the_old(app: App, draw: Draw) -> None:
    """After a change the new password logs in, and the old one does not.

    A password is changed because somebody else may know the old one.

    Hint: verify `old`, hash `new` as /register does, and store it in `members`.
    """
    person, other = join(app, draw), join(app, draw)
    theirs, new = begin(app, other), draw.passphrase()
    access, _ = begin(app, person)
    expect(change_password(app.api, access, person["password"], new), 204, "refused to change a password")
    settled(app)
    session_in(app, soon(lambda: log_in(app.api, person["username"], new), [200]))
    expect(log_in(app.api, person["username"], person["password"]), REFUSED, "still took the old password")
    expect(log_in(app.api, other["username"], new), REFUSED, "changed the password of somebody else too")
    go_on(app, theirs)


@exercise("1.3")
@legit("RFC 6749 §6")
def test_sessions_outlive_a_restart(launch: Callable[..., App], draw: Draw) -> None:
    """A session goes on after the process was restarted.

    Every deployment restarts the process. State in its memory is gone then, and never was in its sibling's.

    Hint: keep sessions in a table, next to `members`.
    """
    app = launch()
    session = begin(app, join(app, draw))
    app.restart()
    expect(me(app.api, session[0]), 200, "forgot a session when it was restarted")
    go_on(app, session)


@exercise("1.3")
@attack("RFC 8725 §3.12", "ASVS 5.0 9.2.2")
def test_refresh_token_opens_no_door(app: App, draw: Draw) -> None:
    """A refresh token is no access token.

    It lives for days. Whoever takes it at every door has given up short lives.

    Hint: say in the token what it is for, and look at that wherever you read one.
    """
    person = join(app, draw)
    for session in (begin(app, person), go_on(app, begin(app, person))):
        expect(me(app.api, session[1]), REFUSED, "took a refresh token for an access token")
        answer = change_password(app.api, session[1], person["password"], draw.passphrase())
        expect(answer, REFUSED, "let a refresh token change the password")
    begin(app, person)


@exercise("1.3")
@attack("RFC 8725 §3.12", "ASVS 5.0 9.2.2")
def test_access_token_refreshes_nothing(app: App) -> None:
    """An access token is no refresh token.

    Else a token that was stolen in its last minute buys another one, and so on for ever.

    Hint: the look at what a token is for belongs on both sides.
    """
    person = reader(app)
    for access, _ in (begin(app, person), go_on(app, begin(app, person))):
        expect(refresh(app.api, access), REFUSED, "took an access token for a refresh token")


@exercise("1.3")
@attack("CWE-345", "RFC 6749 §10.4")
def test_made_up_refresh_token_is_refused(app: App, draw: Draw) -> None:
    """A refresh token that was never issued, or was changed, is refused.

    It stands for the password, so it has to be as hard to guess.

    Hint: verify what is signed; look up what is random.
    """
    person, other = reader(app), reader(app, 2)
    session, (_, theirs) = begin(app, person), begin(app, other)
    mine = session[1]
    spliced = [".".join([*mine.split(".")[:-1], theirs.split(".")[-1]])] if "." in mine else []
    names = [person["username"], person["email"], f"{person['username']}.{draw.secret(32)}"]
    for token in (mine[:-6], draw.secret(), "", "a.b.c", "%", "' OR 1=1 --", *names, *spliced):
        expect(refresh(app.api, token), REFUSED, "took a refresh token that nobody issued")
    if mine.count(".") == 2:  # signed, so that one with a wrong signature says nothing about any session
        log_out(app.api, (session[0], spliced[0]))
        settled(app)
        expect(me(app.api, session[0]), 200, "ended a session for a refresh token that nobody signed")


@exercise("1.3")
@attack("RFC 9700 §4.14.2", "ASVS 5.0 10.4.5")
def test_refresh_token_works_once(launch: Callable[..., App], draw: Draw) -> None:
    """A refresh token that was used is refused, one turn later, two turns later and after a restart.

    If a stolen refresh token works as long as the owner's does, nobody ever notices the thief.

    Hint: issue a new refresh token with every refresh, and let the old one count no more.
    """
    app = launch()
    first, second, third = (begin(app, join(app, draw)) for _ in range(3))
    go_on(app, first)
    expect(refresh(app.api, first[1]), REFUSED, "took a refresh token a second time")
    go_on(app, go_on(app, second))
    expect(refresh(app.api, second[1]), REFUSED, "took a refresh token again after two turns")
    go_on(app, third)
    app.restart()
    expect(refresh(app.api, third[1]), REFUSED, "took a used refresh token again after a restart")


@exercise("1.3")
@attack("RFC 9700 §4.14.2", "ASVS 5.0 10.4.5")
def test_replay_kills_the_family(app: App) -> None:
    """When a used refresh token comes back, the whole session dies, the newest tokens too.

    One of the two who hold it is a thief, and you cannot tell which. If it was the thief who refreshed first,
    refusing the owner alone leaves the thief logged in.

    Hint: a replay names its session: end it. See that refusing the request does not roll that back.
    """
    for turns in (1, 3):
        first = newest = begin(app, reader(app))
        for _ in range(turns):
            newest = go_on(app, newest)
        expect(refresh(app.api, first[1]), REFUSED, "took a refresh token a second time")
        expect_dead(app, newest, "after an older one of its family was replayed")


@exercise("1.3")
@attack("RFC 9700 §4.14.2", "CWE-362")
def test_parallel_refreshes_have_one_winner(app: App) -> None:
    """Of two refreshes with one token at the same moment, exactly one gets through.

    Between looking whether a token is used and writing that it is, another request looks too.

    Hint: let one statement do both: `UPDATE … WHERE` it is still unused, and see how many rows it changed.
    """
    person = reader(app)
    for race in (pile_up, pile_up, *[at_once] * 5):
        session = begin(app, person)
        answers = race(app, session)
        for answer in answers:
            expect(answer, (200, *REFUSED), "did not answer a parallel refresh")
        won = sum(answer.status_code == 200 for answer in answers)
        assert won == 1, f"let {won} of {CROWD} parallel refreshes with one token through; exactly one wins"


def pile_up(app: App, session: Session) -> list[httpx.Response]:
    """Refresh while nobody can write, so that all who look before they write have looked when the first one writes."""
    clients = [app.at(f"127.0.0.{n}") for n in range(11, 11 + CROWD)]
    bystander = app.at("127.0.0.10")
    with ThreadPoolExecutor(CROWD + 1) as crowd:
        with app.locked():
            answers = [crowd.submit(refresh, client, session[1]) for client in clients]
            # A later request that was answered, five times over, says that those before it are under way.
            wait([crowd.submit(lambda: [me(bystander, session[0]) for _ in range(5)])], timeout=1)
        return [answer.result() for answer in answers]


def at_once(app: App, session: Session) -> list[httpx.Response]:
    """Refresh from two addresses at the same moment, over connections that are open already."""
    start = Barrier(CROWD)

    def go(client: httpx.Client) -> httpx.Response:
        me(client, session[0])
        start.wait(10)
        return refresh(client, session[1])

    with ThreadPoolExecutor(CROWD) as crowd:
        return list(crowd.map(go, [app.at(f"127.0.0.{n}") for n in range(11, 11 + CROWD)]))


@exercise("1.3")
@attack("CWE-613", "ASVS 5.0 7.4.1")
def test_logging_out_kills_the_session(app: App, draw: Draw) -> None:
    """After logging out, all tokens of the session are dead: both of the newest, and older access tokens.

    At a shared terminal the next reader finds what the last one left behind.

    Hint: the access token has to say which session it belongs to, and every request has to ask whether that lives.
    """
    person = join(app, draw)
    for turns in (0, 2):
        first = newest = begin(app, person)
        for _ in range(turns):
            newest = go_on(app, newest)
        expect(log_out(app.api, newest), 204, "did not log out")
        expect_dead(app, newest, "after logging out")
        changed = change_password(app.api, newest[0], person["password"], draw.passphrase())
        expect(changed, REFUSED, "let a session that has logged out change the password")
        expect(me(app.api, first[0]), REFUSED, "still took an older access token of a session that has logged out")


@exercise("1.3")
@attack("CWE-613", "ASVS 5.0 7.2.4")
def test_changing_the_password_kills_the_session(app: App, draw: Draw) -> None:
    """After a change of password, all tokens of the session that changed it are dead.

    Whoever changes a password after a theft wants the thief out.

    Hint: end the session in the same transaction that stores the new hash.
    """
    for turns in (0, 2):
        person = join(app, draw)
        first = newest = begin(app, person)
        for _ in range(turns):
            newest = go_on(app, newest)
        answer = change_password(app.api, newest[0], person["password"], draw.passphrase())
        expect(answer, 204, "refused to change a password")
        expect_dead(app, newest, "after the password was changed")
        expect(me(app.api, first[0]), REFUSED, "still took an older access token after the password was changed")


@exercise("1.3")
@attack("CWE-285", "ASVS 5.0 7.4.2")
def test_disabled_members_are_out(app: App) -> None:
    """Whoever is disabled is nobody any more, with a token from before, and cannot log in.

    Accounts are disabled because somebody is misusing them now.

    Hint: read `disabled` where you log in and where you read an access token.
    """
    person, disable = reader(app, 2), "UPDATE members SET disabled = ? WHERE username = ?"
    access, _ = begin(app, person)
    app.sql(disable, 1, person["username"])
    try:
        expect(me(app.api, access), 401, "took the access token of a member who has been disabled since")
        answer = log_in(app.api, person["username"], person["password"])
        expect(answer, REFUSED, "let a disabled member log in")
    finally:
        app.sql(disable, 0, person["username"])  # for the checks that share the reader


@exercise("1.3")
@attack("CWE-613", "ASVS 5.0 7.4.1")
def test_dead_sessions_stay_dead_after_a_restart(launch: Callable[..., App], draw: Draw) -> None:
    """What was dead before the process was restarted is dead after it.

    A deny list in memory lets everybody back in with the next deployment.

    Hint: keep what you revoke in a table, next to `members`.
    """
    app = launch()
    leaving, changing = join(app, draw), join(app, draw)
    left, changed = begin(app, leaving), begin(app, changing)
    expect(log_out(app.api, left), 204, "did not log out")
    answer = change_password(app.api, changed[0], changing["password"], draw.passphrase())
    expect(answer, 204, "refused to change a password")
    settled(app)
    app.restart()
    expect_dead(app, left, "after logging out and a restart")
    expect_dead(app, changed, "after a change of password and a restart")


@exercise("1.3")
@attack("CWE-620", "ASVS 5.0 6.2.3")
def test_changing_the_password_takes_the_old_one(app: App, draw: Draw) -> None:
    """Nobody changes a password without the old one and a live session.

    A token is borrowed more easily than a password: an open laptop is enough. It must not lock the owner out.

    Hint: verify `old` against the stored hash before anything is written.
    """
    person, other = join(app, draw), join(app, draw)
    new, password = draw.passphrase(), person["password"]
    access, _ = begin(app, person)
    for old in (draw.passphrase(), "", password[:-1], password.upper(), other["password"]):
        expect(change_password(app.api, access, old, new), REFUSED, "changed a password without the old one")
    nobody = app.api.post("/password", json={"old": password, "new": new})
    expect(nobody, REFUSED, "changed a password for nobody")
    settled(app)
    expect(log_in(app.api, person["username"], new), REFUSED, "took a password whose change it had refused")
    begin(app, person)
