"""1.2 Register and log in: how it is used, and how it is attacked."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from statistics import median
from typing import Any

import httpx

from checks.accounts import log_in, me, newcomer, settled
from checks.alike import telling, timed, traits
from checks.attacks import ZONES, decoded, forge, sign, spellings
from checks.password_hashes import adaptive
from lab_app.harness import REFUSED, App, CheckFailed, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member

WELL_KNOWN_KEYS = ("secret", "changeme", "your-secret-key", "dev-secret", "supersecret")


MINUTES_30 = 30 * 60
MEGABYTE = 1_000_000  # a 422 repeats it, and the answer must stay below what the client reads
# A share of the time that eight log-ins take. In a stopped process /health waits for most of them in one go: for half
# of that time or nearly. In a free one it waits for a turn among eight hashes, a tenth. Load stretches both alike.
LONG_WAIT = 1 / 3


def register(api: httpx.Client, person: dict[str, str]) -> httpx.Response:
    """Ask for an account."""
    return api.post("/register", json=person)


def registered(api: httpx.Client, draw: Draw, **wishes: str) -> dict[str, str]:
    """Somebody who has an account."""
    person = newcomer(draw) | wishes
    expect(register(api, person), 201, "refused a newcomer")
    return person


def token_of(api: httpx.Client, person: dict[str, str]) -> str:
    """The access token that somebody gets for their password."""
    answer = expect(log_in(api, person["username"], person["password"]), 200, "refused the right password")
    return str(json_of(answer, "access_token")["access_token"])


def stored(app: App, person: dict[str, str], column: str) -> str:
    """What the database holds of somebody who has registered."""
    rows = app.eventually(f"SELECT {column} FROM members WHERE username = ?", person["username"])  # noqa: S608
    assert len(rows) == 1, f"holds {len(rows)} rows in `members` for a member who has just registered"
    return str(rows[0][0])


@exercise("1.2")
@legit("RFC 6749 §4.3", "RFC 6749 §5.1")
def test_newcomers_register_and_log_in(app: App, api: httpx.Client, draw: Draw) -> None:
    """Two newcomers register, log in, and see their own name and e-mail.

    A door for nobody is no door.

    Hint: read the contract once more: what `/register`, `/token` and `/members/me` take, and what they answer.
    """
    for _ in range(2):
        person = newcomer(draw)
        body = json_of(expect(register(api, person), 201, "refused a newcomer"), "id", "username", "email")
        assert (body["username"], body["email"]) == (person["username"], person["email"]), "registered somebody else"
        assert str(body["id"]) == stored(app, person, "id"), "answered an id that is not the member's"
        answer = expect(log_in(api, person["username"], person["password"]), 200, "refused the right password")
        token = json_of(answer, "access_token", "token_type", "expires_in")
        assert str(token["token_type"]).lower() == "bearer", f"answered {token['token_type']!r} as token_type"
        shown = json_of(expect(me(api, token["access_token"]), 200, "refused its own token"), "username", "email")
        mine = (person["username"], person["email"])
        assert (shown["username"], shown["email"]) == mine, "showed another member than the one who logged in"


@exercise("1.2")
@legit("ASVS 5.0 6.2.5", "ASVS 5.0 6.2.9")
def test_passphrases_of_all_kinds_work(api: httpx.Client, draw: Draw) -> None:
    """Passphrases with spaces, of 15, 64 or 128 characters, and of any script work.

    A limit that counts bytes gives people who write Cyrillic or Chinese half a password.

    Hint: count characters, as `len` and pydantic's `max_length` do. Hash the UTF-8 of the whole password.
    """
    passwords = (
        draw.secret(15),
        draw.secret(64),
        draw.passphrase().replace(" ", "  "),
        f"Кодовая фраза {draw.number(1000, 9999)} для чтения",
        "讀萬卷書行萬里路" * 15 + draw.secret(8),
        f"pássword ¢ 🐦 {draw.passphrase()}",
    )
    for password in passwords:
        person = registered(api, draw, password=password)
        expect(log_in(api, person["username"], password), 200, "refused the right password")


@exercise("1.2")
@legit("RFC 9110 §15.3.1")
def test_health_answers(api: httpx.Client) -> None:
    """GET /health answers 200.

    Whoever restarts sick servers asks it.

    Hint: a route of its own that needs nothing.
    """
    expect(api.get("/health"), 200, "did not say that it is well")


@exercise("1.2")
@attack("CWE-521", "ASVS 5.0 6.2.1")
def test_short_and_overlong_passwords_are_refused(app: App, api: httpx.Client, draw: Draw) -> None:
    """A password of under 15 or over 128 characters gets 422, and nobody is registered.

    Short ones are guessed; without an upper limit a stranger decides how much there is to hash.

    Hint: `password: str = Field(min_length=15, max_length=128)` counts characters.
    """
    for password in ("", draw.secret(14), "ж" * 14, draw.secret(129), "ж" * 129):
        person = newcomer(draw) | {"password": password}
        expect(register(api, person), 422, f"took a password of {len(password)} characters")
        rows = app.sql("SELECT id FROM members WHERE username = ?", person["username"])
        assert not rows, f"registered a member whose password has {len(password)} characters"


@exercise("1.2")
@attack("CWE-694", "CWE-287")
def test_taken_names_and_addresses_are_refused(app: App, api: httpx.Client, disabled: Member, draw: Draw) -> None:
    """A username or e-mail that is taken gets 409, and the member who has it keeps the account.

    Registering a name again must not be a way to set its password, nor one to come back for who was disabled.

    Hint: `members` has UNIQUE columns: insert, and answer 409 to the IntegrityError.
    """
    first, row = registered(api, draw), "SELECT * FROM members WHERE id = ?"
    before = app.sql(row, disabled.id)
    for owner in (first, {"username": disabled.username, "email": disabled.email}):
        for field in ("username", "email"):
            expect(register(api, newcomer(draw) | {field: owner[field]}), 409, f"gave away a taken {field}")
    settled(app)
    assert app.sql(row, disabled.id) == before, "answered 409 to a taken name or e-mail and changed who has it"
    second = newcomer(draw) | {"username": first["username"]}
    register(api, second)
    expect(log_in(api, second["username"], second["password"]), REFUSED, "let the second one in under a taken name")
    token_of(api, first)


@exercise("1.2")
@attack("CWE-916", "CWE-256", "ASVS 5.0 11.4.2")
def test_passwords_are_stored_as_adaptive_hashes(app: App, api: httpx.Client, draw: Draw) -> None:
    """The database holds argon2id, scrypt, bcrypt or PBKDF2, with enough work, in its PHC or passlib form.

    A stolen table of SHA-256 falls at billions of guesses a second.

    Hint: at least argon2id with 19 MiB and t=2, scrypt with 2^14, bcrypt with cost 10, or PBKDF2-SHA256 with 600 000.
    """
    kept = stored(app, registered(api, draw), "password_hash")
    assert adaptive(kept), f"stored {kept[:60]!r}, which is no adaptive hash with enough work"


@exercise("1.2")
@attack("CWE-759", "CWE-760", "ASVS 5.0 11.4.2")
def test_equal_passwords_have_different_hashes(app: App, api: httpx.Client, draw: Draw) -> None:
    """Two members with the same password have different hashes.

    Without a salt of its own each hash tells who shares a password, and one table cracks all.

    Hint: let the library draw the salt; do not give it one.
    """
    password = draw.passphrase()
    one, other = (stored(app, registered(api, draw, password=password), "password_hash") for _ in range(2))
    assert one != other, "stored the same hash twice"


@exercise("1.2")
@attack("CWE-312", "CWE-532", "ASVS 5.0 16.2.5")
def test_passwords_are_written_nowhere(app: App, api: httpx.Client, draw: Draw) -> None:
    """The password is in no file: not in the database, not in a log, not encoded, not as a fast digest.

    One careless column or log line undoes the best hash.

    Hint: keep the hash and nothing else. A password that was mistyped is nearly the right one: do not log it either.
    """
    person = registered(api, draw)
    token_of(api, person)
    mistyped = person["password"] + draw.secret(4)
    log_in(api, person["username"], mistyped)
    for name, content in app.files().items():
        found = [spelling for spelling in spellings(person["password"]) if spelling in content]
        assert not found, f"wrote the password to {name}: {found[0][:60]!r}"
        assert mistyped.encode() not in content, f"wrote a mistyped password to {name}"


@exercise("1.2")
@attack("CWE-200", "API3:2023", "ASVS 5.0 15.3.1")
def test_answers_show_no_password_and_no_hash(app: App, api: httpx.Client, draw: Draw) -> None:
    """No answer and no token holds the password or its hash.

    A hash that leaves the database is a hash that can be guessed at home.

    Hint: name the fields that you answer; never return the row.
    """
    person = newcomer(draw)
    answers = [expect(register(api, person), 201, "refused a newcomer")]
    answers.append(log_in(api, person["username"], person["password"]))
    token = json_of(answers[-1], "access_token")["access_token"]
    answers.append(me(api, token))
    secrets = (person["password"], stored(app, person, "password_hash"))
    for told in (*(answer.text for answer in answers), str(decoded(token))):
        assert not any(secret in told for secret in secrets), "showed the password or its hash"


@exercise("1.2")
@attack("CWE-187", "ASVS 5.0 6.2.8")
def test_every_character_of_a_password_counts(api: httpx.Client, draw: Draw) -> None:
    """A password that differs in one character, wherever it is and whatever it is, is a wrong password.

    bcrypt drops what lies past 72 bytes; put a salt of 29 in front and 43 are left. Whoever tidies a password up first
    drops more: of Cyrillic letters `encode("ascii", "ignore")` leaves nothing.

    Hint: argon2 and scrypt take all. For bcrypt, hash first: base64 of SHA-384 fits and holds no NUL bytes. Hash the
    UTF-8 of what was sent, as it was sent.
    """
    password = draw.secret(128)
    person = registered(api, draw, password=password)
    token_of(api, person)
    for at in (72, 127):  # whoever cuts at 43 cuts these off as well
        changed = password[:at] + "x" + password[at + 1 :]
        expect(log_in(api, person["username"], changed), REFUSED, f"took a password that differs at byte {at}")
    wide = f"Ещё! {'ж' * 50} {draw.secret(8)}й"
    person = registered(api, draw, password=wide)
    changes = {  # none of them the same by NFC or NFKC, which some rightly apply
        "a Cyrillic password that differs late": f"{wide[:-1]}и",
        "a password without its exclamation mark": wide.replace("!", ""),
        "a password with a blank behind it": f"{wide} ",
        "a password whose first letter is small": wide[0].lower() + wide[1:],
    }
    for change, changed in changes.items():
        expect(log_in(api, person["username"], changed), REFUSED, f"took {change}")


@exercise("1.2")
@attack("CWE-626", "CWE-755", "ASVS 5.0 16.5.3")
def test_odd_and_huge_input_never_crashes(api: httpx.Client, draw: Draw) -> None:
    """NUL bytes and a megabyte of password are taken or refused, but never crash; nothing after a NUL is ignored.

    Some libraries raise on a NUL byte, some stop reading there, some refuse long input with an error of their own.

    Hint: check the length before you hash, at `/token` too, and ask what your library does with a NUL byte.
    """
    known = registered(api, draw)
    for field in ("username", "email", "password"):
        odd = newcomer(draw)
        odd[field] = odd[field][:9] + "\0" + odd[field][9:]
        answer = expect(register(api, odd), range(200, 500), f"crashed on a NUL byte in the {field}")
        if answer.status_code == 201 and field == "password":
            token_of(api, odd)
            cut = odd["password"][:10] + draw.passphrase()
            expect(log_in(api, odd["username"], cut), REFUSED, "ignored what follows a NUL byte in the password")
    megabyte = draw.secret(8) * (MEGABYTE // 8)
    for name in (known["username"], draw.username()):
        expect(log_in(api, name, megabyte), REFUSED, "took a password of a megabyte")
    # HMAC fills its key up with NUL bytes, so scrypt and PBKDF2 rightly take a password with one more.
    expect(log_in(api, known["username"], known["password"] + "\0"), range(200, 500), "crashed on a NUL byte")
    expect(log_in(api, known["username"] + "\0", known["password"]), range(200, 500), "crashed on a NUL byte")
    expect(register(api, newcomer(draw) | {"password": megabyte}), REFUSED, "took a password of a megabyte")
    expect(log_in(api, megabyte, known["password"]), REFUSED, "knew a name of a megabyte")


@exercise("1.2")
@attack("CWE-915", "API3:2023", "ASVS 5.0 15.3.3")
def test_newcomers_cannot_choose_role_or_id(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """`role`, `disabled` and `id` in the request change nothing.

    Whoever copies a request body into a table lets strangers fill in every column.

    Hint: name the three fields that you take, and let the database fill in the rest.
    """
    before = app.sql("SELECT * FROM members WHERE id = ?", ada.id)
    everything: dict[str, Any] = {"role": "staff", "disabled": 1, "id": draw.number(100_000, 900_000)}
    chosen: tuple[dict[str, Any], ...] = (everything, {"role": "staff"}, {"disabled": True}, {"id": ada.id})
    tries: list[tuple[dict[str, Any], dict[str, Any]]] = [*((extra, {}) for extra in chosen), ({}, everything)]
    for extra, query in tries:
        person = newcomer(draw)
        answer = api.post("/register", json=person | extra, params=query)
        expect(answer, (201, 422), f"was confused by {', '.join(extra or query)}")
        if answer.status_code == 201:
            assert stored(app, person, "role") == "member", "let a newcomer choose the role"
            assert stored(app, person, "disabled") == "0", "let a newcomer choose `disabled`"
            assert stored(app, person, "id") != str((extra | query).get("id")), "let a newcomer choose the id"
    assert app.sql("SELECT * FROM members WHERE id = ?", ada.id) == before, "let a newcomer write over a member"


@exercise("1.2")
@attack("CWE-287", "CWE-836", "CWE-89")
def test_wrong_passwords_are_refused(app: App, api: httpx.Client, draw: Draw) -> None:
    """A wrong password, an unknown name, or SQL in place of either gets 401.

    That, after all, is what a password is for.

    Hint: look the member up with a bound parameter and let the library verify; never compare hashes yourself.
    """
    person = registered(api, draw)
    name, password = person["username"], person["password"]
    wrong = (
        (name, draw.passphrase()),
        (name, password.upper()),
        (name, password[:-1]),
        (name, f" {password} "),
        (name, stored(app, person, "password_hash")),
        (draw.username(), password),
        (f"{name}' --", password),
        ("' OR 1=1 --", password),
        ("%", password),
    )
    for given_name, given_password in wrong:
        expect(log_in(api, given_name, given_password), 401, "gave a token for a wrong name or password")
    token_of(api, person)


@exercise("1.2")
@attack("CWE-204", "ASVS 5.0 6.3.8")
def test_failures_look_alike(api: httpx.Client, draw: Draw) -> None:
    """A wrong password and an unknown name get the same status, body and headers.

    Any difference is a list of your members for whoever asks often enough.

    Hint: raise the same exception in one place, for both.
    """
    known = registered(api, draw)["username"]
    ours, theirs = [], []
    for _ in range(2):
        ours.append(traits(log_in(api, known, draw.passphrase()), known))
        unknown = draw.username()
        theirs.append(traits(log_in(api, unknown, draw.passphrase()), unknown))
    names = telling(ours, theirs)
    assert not names, f"answers known and unknown names differently: {', '.join(names)}"


@exercise("1.2")
@attack("CWE-208", "ASVS 5.0 6.3.8")
def test_failures_take_equally_long(api: httpx.Client, draw: Draw) -> None:
    """A wrong password and an unknown name take about equally long.

    An answer that comes at once says: there is no such member, nothing was hashed.

    Hint: without a member, verify the password against a hash of nobody's, made with the same settings.
    """
    known = registered(api, draw)["username"]
    log_in(api, draw.username(), draw.passphrase())
    ratio = 0.0
    for _ in range(3):  # a busy machine is not lopsided thrice
        ours, theirs = [], []
        for _ in range(5):
            ours.append(timed(lambda: log_in(api, known, draw.passphrase()))[0])
            theirs.append(timed(lambda: log_in(api, draw.username(), draw.passphrase()))[0])
        ratio = max(median(ours) / median(theirs), median(theirs) / median(ours))
        if ratio < 2:
            return
    raise CheckFailed(f"takes {ratio:.0f} times as long for one as for the other", "A safe app takes equally long.")


@exercise("1.2")
@attack("CWE-367", "ASVS 5.0 15.4.2")
def test_one_name_goes_to_one_newcomer(app: App, api: httpx.Client, draw: Draw) -> None:
    """Of eight who register one name at the same time, exactly one gets it, and the others get 409.

    Between looking whether a name is free and taking it, others look too.

    Hint: do not ask first. Insert, and let the UNIQUE column decide.
    """
    one, _ = timed(lambda: register(api, newcomer(draw)))
    name = draw.username()
    crowd = [newcomer(draw) | {"username": name} for _ in range(8)]
    with ThreadPoolExecutor(4) as threads:  # so few that all have hashed and looked before the lock is let go
        with app.locked():  # so that all who look first have looked before anybody writes
            tries = [threads.submit(register, api, person) for person in crowd]
            wait(tries, timeout=min(2.5, 0.1 + 10 * one))
        answers = [each.result() for each in tries]
    for answer in answers:
        expect(answer, (201, 409), "answered a race with something else")
    winners = [person for person, answer in zip(crowd, answers, strict=True) if answer.status_code == 201]
    assert len(winners) == 1, f"gave one name to {len(winners)} newcomers"
    assert stored(app, winners[0], "email") == winners[0]["email"], "stored another than the one who got the name"
    token_of(api, winners[0])


@exercise("1.2")
@attack("CWE-525", "RFC 6749 §5.1", "ASVS 5.0 14.3.2")
def test_token_is_kept_in_no_cache(api: httpx.Client, draw: Draw) -> None:
    """The answer with the token says Cache-Control: no-store.

    A token in a browser's or proxy's cache belongs to whoever reads it.

    Hint: set the header on the response of `/token`.
    """
    person = registered(api, draw)
    answer = expect(log_in(api, person["username"], person["password"]), 200, "refused the right password")
    told = answer.headers.get("cache-control", "")
    directives = {directive.strip().lower() for directive in told.split(",")}
    assert "no-store" in directives, f"sent a token with Cache-Control {told!r}"


@exercise("1.2")
@attack("CWE-285", "ASVS 5.0 7.4.2")
def test_disabled_members_get_no_token(app: App, api: httpx.Client, draw: Draw) -> None:
    """A disabled member gets no token, and the one they have is worth nothing.

    Accounts are disabled because somebody is misusing them now.

    Hint: read `disabled` where you log in and where you read the token.
    """
    person = registered(api, draw)
    token = token_of(api, person)
    app.sql("UPDATE members SET disabled = 1 WHERE username = ?", person["username"])
    answer = expect(log_in(api, person["username"], person["password"]), REFUSED, "let a disabled member log in")
    assert "access_token" not in answer.text, "gave a disabled member a token"
    expect(me(api, token), 401, "took the token of a member who has been disabled since")


@exercise("1.2")
@attack("CWE-400", "CWE-1322", "ASVS 5.0 15.4.4")
def test_nobody_waits_for_other_peoples_hashes(app: App, api: httpx.Client, draw: Draw) -> None:
    """While eight members log in, /health stays fast.

    A slow hash inside an `async def` stops the whole process, for as long as it takes.

    Hint: write the route with `def`, so that it runs in a thread, or await `run_in_threadpool`.
    """
    person = registered(api, draw)
    if not adaptive(stored(app, person, "password_hash")):
        return  # nothing is hashed slowly, so nobody waits for it; that the hash is slow is another check's matter
    share = 1.0
    for _ in range(3):  # a busy machine is not lopsided thrice
        share = longest_wait(api, person)
        if share < LONG_WAIT:
            return
    found = f"let one question for /health wait for {share:.0%} of the time that eight log-ins took together"
    raise CheckFailed(found, "A safe app answers /health while it hashes.")


def longest_wait(api: httpx.Client, person: dict[str, str]) -> float:
    """The longest wait for /health while eight log in, as a share of the time that they take."""
    with ThreadPoolExecutor(8) as crowd:
        logins = [crowd.submit(token_of, api, person) for _ in range(8)]
        waits = []
        while not all(login.done() for login in logins):
            seconds, answer = timed(lambda: api.get("/health"))
            expect(answer, 200, "was not well while others logged in")
            waits.append(seconds)
    for login in logins:
        login.result()
    return max(waits) / sum(waits)


@exercise("1.2")
@attack("CWE-613", "RFC 6750 §5.3", "ASVS 5.0 9.2.1")
def test_tokens_are_ours_and_end_within_half_an_hour(app_in: Callable[[str], App], draw: Draw) -> None:
    """A token is signed as in 1.1 and ends within 30 minutes, in Tokyo and in New York.

    `datetime.now()` in place of UTC gives it nine hours more, or takes five away.

    Hint: `int(time.time())` or `datetime.now(timezone.utc)`; sign with `JWT_SECRET`; set all five claims.
    """
    for zone in ZONES:
        app = app_in(zone)
        person = registered(app.api, draw)
        answer = expect(log_in(app.api, person["username"], person["password"]), 200, "refused the right password")
        body = json_of(answer, "access_token", "expires_in")
        token, now = body["access_token"], time.time()
        expect(me(app.api, token), 200, f"refused its own token on a server in {zone}")
        head, payload, _ = token.split(".")
        assert sign(head, payload, "HS256", app.env["JWT_SECRET"]) == token, "signed with another key or algorithm"
        claims = decoded(token)
        missing = [name for name in ("sub", "exp", "iat", "iss", "aud") if name not in claims]
        assert not missing, f"left out {', '.join(missing)}"
        assert claims["sub"] == person["username"], "named another than the one who logged in as sub"
        assert claims["iss"] == app.env["JWT_ISSUER"], f"wrote {claims['iss']!r} as iss"
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        assert app.env["JWT_AUDIENCE"] in audiences, f"wrote {claims['aud']!r} as aud"
        assert abs(claims["iat"] - now) < 60, f"issued a token {now - claims['iat']:.0f} s ago on a server in {zone}"
        left = claims["exp"] - now
        assert 0 < left <= MINUTES_30, f"lets a token live {left:.0f} s on a server in {zone}"
        assert abs(body["expires_in"] - left) < 60, f"said {body['expires_in']} s of a token that lives {left:.0f} s"


@exercise("1.2")
@attack("CWE-347", "RFC 8725 §3.1", "ASVS 5.0 9.1.1")
def test_forged_tokens_are_refused_here_too(app: App, api: httpx.Client, ada: Member, draw: Draw) -> None:
    """What 1.1 refuses is refused here, too.

    A new way in is no reason to leave the old one open.

    Hint: take your answer to 1.1: one algorithm, all five claims required, issuer and audience compared.
    """
    expect(me(api, forge(app, ada.username)), 200, "refused a good token")
    now = int(time.time())
    forged = (
        forge(app, ada.username, alg="none"),
        forge(app, ada.username, key=draw.secret()),
        forge(app, ada.username, alg="HS512"),
        forge(app, ada.username, iat=now - 7200, exp=now - 3600),
        forge(app, ada.username, nbf=now + 3600),
        forge(app, ada.username, aud=draw.username()),
        forge(app, ada.username, iss=draw.username()),
        *(forge(app, ada.username, without=[claim]) for claim in ("sub", "exp", "iat", "iss", "aud")),
        forge(app, draw.username()),
        "x",
    )
    for token in forged:
        answer = expect(me(api, token), 401, f"took a forged token ({decoded(token)})")
        assert "www-authenticate" in answer.headers, "sent a 401 without WWW-Authenticate"
    expect(api.get("/members/me"), 401, "let somebody in without a token")
