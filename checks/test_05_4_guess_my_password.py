"""5.4 Guess my password: how it is used, and how it is attacked."""

import unicodedata
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from statistics import median

from checks.alike import telling, timed, traits
from checks.budgets import address, refused, retry_after
from checks.guesses import ADDRESS, NAME, PAIR, guess, heat, join, right, shut_out, spend, wrong
from lab_app.harness import REFUSED, App, CheckFailed, attack, exercise, expect, json_of, legit
from lab_app.harness.draw import Draw
from lab_app.harness.library import Member, hashed

HOUR = 3600
DEAR = 12  # bcrypt's usual cost: dear enough that a hash which is not computed shows


def one_name(name: str) -> chain[str]:
    """A name, as often as may be looked at, and once more."""
    return chain(repeat(name, PAIR[1] + 1))


def shouted(name: str) -> list[str]:
    """The same name in other cases and Unicode forms."""
    return [
        name.upper(),
        unicodedata.normalize("NFD", name),
        name.capitalize(),
        unicodedata.normalize("NFD", name.upper()),
    ]


def at_once(app: App, draw: Draw, names: list[str]) -> int:
    """How many wrong guesses are looked at that come from a new address at the same moment. Raises CheckFailed."""
    source = address(draw)
    with ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(lambda name: guess(app, source, name), names))
    for answer in answers:
        expect(answer, (401, 429), "answered a race with something else than 401 or 429")
    return Counter(answer.status_code for answer in answers)[401]


@exercise("5.4")
@legit("RFC 6749 §5.1", "ASVS 5.0 6.3.1")
def test_members_log_in_as_often_as_they_like(app: App, ada: Member, bob: Member, staff: Member, draw: Draw) -> None:
    """The right password gives a token, forty times in a row from one address.

    Only failures are budgeted. Behind one address sits a whole school.

    Hint: count when the password was wrong, not when somebody logs in.
    """
    source, found = address(draw), "refused the right password"
    for member in (ada, bob, staff):
        json_of(expect(guess(app, source, member.username, member.password), 200, found), "access_token", "token_type")
        wrong(app, source, member.username)
    for _ in range(40):
        right(app, source, bob, found)


@exercise("5.4")
@legit("CWE-645", "ASVS 5.0 6.1.1")
def test_mistakes_are_forgiven_after_a_success(app: App, draw: Draw) -> None:
    """Three mistakes, then the right password, and that three times over.

    People mistype. Once they are in, what they mistyped is past.

    Hint: a success clears what was counted for this name at this address.
    """
    [member] = join(app, draw)
    source = address(draw)
    for _ in range(3):
        for _ in range(PAIR[0] - 1):
            wrong(app, source, member.username)
        right(app, source, member, "refused the right password after three mistakes")


@exercise("5.4")
@legit("CWE-645", "ASVS 5.0 6.1.1")
def test_fewer_failures_are_never_refused(app: App, draw: Draw) -> None:
    """Below the budgets nobody is refused: 3 at one address, 9 of one name, 19 of one address.

    Every number below the budget is somebody honest: a family, an office, a forgotten password.

    Hint: three budgets, each with a count of its own.
    """
    [member, spare, *others] = join(app, draw, ADDRESS[0] + 1)
    for source in (address(draw), address(draw), address(draw)):
        for _ in range(PAIR[0] - 1):
            wrong(app, source, member.username)
    right(app, address(draw), member, "refused the right password after nine wrong guesses of a name")
    wrong(app, address(draw), member.username)
    office = address(draw)
    for other in others:
        wrong(app, office, other.username)
    right(app, office, spare, "refused the right password after nineteen wrong guesses at an address")
    wrong(app, office, spare.username)


@exercise("5.4")
@legit("CWE-645", "ASVS 5.0 6.1.1")
def test_nobody_locks_the_owner_out(app: App, ada: Member, draw: Draw) -> None:
    """While strangers guess a name from everywhere, its owner logs in from an address that has not failed.

    A lock that anybody can shut is the attack: everyone's account, locked by a script.

    Hint: for a name that is hot over all addresses, an address without a failure on it is still looked at, once.
    """
    [member] = join(app, draw)
    sources = heat(app, draw, member.username)
    home = address(draw)
    for _ in range(2):
        right(app, home, member, "locked the owner out because strangers had guessed")
    cafe = address(draw)
    wrong(app, cafe, draw.username())
    right(app, cafe, member, "locked the owner out because somebody had mistyped another name at the same address")
    right(app, sources[0], ada, "refused another member because somebody guessed at the same address")


@exercise("5.4")
@legit("CWE-645", "ASVS 5.0 6.1.1")
def test_refusing_one_leaves_the_others_alone(app: App, bob: Member, draw: Draw) -> None:
    """Who is refused is this name at this address: not the name elsewhere, not others here.

    One stranger's guesses must not cost a neighbour, nor the member whose name it is.

    Hint: the key of the first budget is name and address together, each whole; names and addresses are counted apart.
    """
    [member, twin] = join(app, draw, 2, prefix=draw.secret(32))
    source, home = address(draw), address(draw)
    spend(app, source, one_name(member.username), PAIR, "one name from one address")
    right(app, address(draw), member, "refused the owner at home because a stranger had guessed elsewhere")
    right(app, source, bob, "refused another member because somebody guessed at the same address")
    right(app, source, twin, "refused another member whose name begins with the same 32 letters")
    wrong(app, source, draw.username())
    for _ in range(ADDRESS[1] + 1):
        expect(guess(app, address(draw), home), (401, 429), "let somebody in under the name of an address")
    right(app, home, bob, "refused a member because strangers had guessed at a name that is written like the address")


@exercise("5.4")
@attack("CWE-307", "ASVS 5.0 6.3.1", "API2:2023")
def test_one_name_from_one_address_is_refused(app: App, draw: Draw) -> None:
    """After 4 to 6 wrong guesses of one name from one address comes 429 with Retry-After, right password or not.

    If the right password is still answered with 200, the guessing goes on.

    Hint: refuse before you look at the password.
    """
    for one in join(app, draw, 2):
        source = address(draw)
        spend(app, source, one_name(one.username), PAIR, "one name from one address")
        shut_out(app, source, one, "looked at a password although its guesses were used up")
        answer = refused(guess(app, source, one.username), "looked at a password although its guesses were used up")
        assert retry_after(answer, HOUR) > 0, "said to come back at once"


@exercise("5.4")
@attack("CWE-307", "ASVS 5.0 6.3.1", "API2:2023")
def test_one_name_from_many_addresses_is_refused(app: App, draw: Draw) -> None:
    """After 15 wrong guesses of one name from 15 addresses, these addresses are refused.

    Addresses are cheap. Whoever counts by them alone is guessed at by a botnet, five guesses each.

    Hint: count the failures of a name over all addresses too.
    """
    for name in (join(app, draw)[0].username, draw.username()):
        for source in heat(app, draw, name)[:5]:
            answer = refused(guess(app, source, name), f"looked at more than {NAME[1]} wrong guesses of one name")
            assert retry_after(answer, HOUR) > 0, "said to come back at once"


@exercise("5.4")
@attack("CWE-307", "CWE-799")
def test_a_hot_name_gets_one_look_from_each_address(app: App, draw: Draw) -> None:
    """Once a name is hot, a new address that guesses wrongly is refused from then on, with the right password too.

    The look is for the owner. A second one is for the botnet.

    Hint: a name that is hot is refused at every address that has failed on it, before the password is looked at.
    """
    [member] = join(app, draw)
    heat(app, draw, member.username)
    for _ in range(3):
        source = address(draw)
        expect(guess(app, source, member.username), (401, 429), "let somebody in with a wrong password")
        refused(guess(app, source, member.username), "gave an address a second look at a name that is hot")
        shut_out(app, source, member, "gave an address a second look at a name that is hot")


@exercise("5.4")
@attack("CWE-307", "ASVS 5.0 6.3.1", "API2:2023")
def test_one_address_over_all_names_is_refused(app: App, bob: Member, draw: Draw) -> None:
    """After 20 to 30 wrong guesses of as many names, an address is refused for every name.

    One password, tried on everybody: no name is guessed twice, and somebody did choose "summer".

    Hint: count the failures of an address over all names too, unknown ones among them.
    """
    names = [member.username for member in join(app, draw, ADDRESS[1] - 2)] + [draw.username() for _ in range(3)]
    draw.random.shuffle(names)
    source = address(draw)
    spend(app, source, names, ADDRESS, "many names from one address")
    shut_out(app, source, bob, "looked at a password although the guesses of its address were used up")
    refused(guess(app, source, draw.username()), "looked at a name although the guesses of its address were used up")
    right(app, address(draw), bob, "refused a member at home because a stranger had guessed elsewhere")


@exercise("5.4")
@attack("CWE-204", "ASVS 5.0 6.3.8")
def test_unknown_names_count_and_answer_alike(app: App, draw: Draw) -> None:
    """An unknown name gets the same answers as a known one, and its guesses are used up as soon.

    If only known names are refused, being refused says: this one is a member.

    Hint: count by the name as it was sent, whether or not there is such a member.
    """
    ours: list[dict[str, str]] = []
    theirs: list[dict[str, str]] = []
    for member in join(app, draw, 2):
        for name, kind in ((member.username, ours), (draw.username(), theirs)):
            source = address(draw)
            first = guess(app, source, name)
            expect(first, 401, "did not answer 401 to a wrong password")
            spend(app, source, one_name(name), (PAIR[0] - 1, PAIR[1] - 1), "one name from one address")
            last = {f"refused {trait}": value for trait, value in traits(guess(app, source, name), name).items()}
            kind.append(traits(first, name) | {trait: last[trait] for trait in last if "retry-after" not in trait})
    names = telling(ours, theirs)
    assert not names, f"answers known and unknown names differently: {', '.join(names)}"
    for odd in ("\0", "a\0b", "", " ", "' OR 1=1 --", "😀" * 300, draw.secret(8) * 1000):
        expect(guess(app, address(draw), odd), REFUSED, "let somebody in under an odd name")


@exercise("5.4")
@attack("CWE-208", "ASVS 5.0 6.3.8")
def test_unknown_names_take_as_long(launch: Callable[..., App], draw: Draw) -> None:
    """A wrong password for an unknown name takes as long as for a known one.

    An answer that comes at once says: there is no such member, nothing was hashed.

    Hint: without a member, verify against a hash of nobody's, as dear as those in the database.
    """
    app = launch()
    app.sql("UPDATE members SET password_hash = ?", hashed(draw.passphrase(), DEAR))
    app.restart()
    known = app.library.ada.username
    guess(app, address(draw), draw.username())
    ratio = 0.0
    for _ in range(3):  # a busy machine is not lopsided thrice
        here, there = address(draw), address(draw)
        ours = [timed(lambda: guess(app, here, known))[0] for _ in range(2)]  # noqa: B023
        theirs = [timed(lambda: guess(app, there, draw.username()))[0] for _ in range(2)]  # noqa: B023
        ratio = max(median(ours) / median(theirs), median(theirs) / median(ours))
        if ratio < 2:
            return
    raise CheckFailed(f"takes {ratio:.0f} times as long for one as for the other", "A safe app takes equally long.")


@exercise("5.4")
@attack("CWE-178", "CWE-180", "ASVS 5.0 6.3.1")
def test_spellings_share_a_budget(app: App, draw: Draw) -> None:
    """Names that differ in case or Unicode form only are one name to the budget, while only the exact one logs in.

    `ada`, `Ada`, `ADA`: whoever counts them apart sells guesses by the spelling.

    Hint: count by `unicodedata.normalize("NFKC", name).casefold()`; look the member up by the name as it came.
    """
    for member in (*join(app, draw), *join(app, draw, prefix="zo\u00eb")):
        source = address(draw)
        spelled = [*shouted(member.username), *shouted(member.username)][: PAIR[1]]
        spend(app, source, [*spelled, member.username], PAIR, "one name in several spellings from one address")
        shut_out(app, source, member, "counted the spellings of one name apart")
        elsewhere = address(draw)
        for name in {*shouted(member.username)[:3]} - {member.username}:
            expect(guess(app, elsewhere, name, member.password), REFUSED, "let somebody in under another spelling")
        right(app, address(draw), member, "refused the right password under the exact name")


@exercise("5.4")
@attack("CWE-307", "CWE-799")
def test_a_success_clears_nobody_elses_count(app: App, draw: Draw) -> None:
    """Logging in as oneself, or the owner's own login, gives a guesser no new guesses.

    An attacker has an account too: three guesses, one login, three guesses, one login.

    Hint: a success clears one count: that of this name at this address.
    """
    [victim, mallory, *names] = join(app, draw, ADDRESS[1] + 3)
    source, home = address(draw), address(draw)
    for failures in range(PAIR[1]):
        if guess(app, source, victim.username).status_code == 429:
            break
        if failures % 2:
            right(app, source, mallory, "refused the right password of somebody else")
            right(app, home, victim, "refused the owner at home")
    refused(guess(app, source, victim.username), "gave new guesses because somebody had logged in")
    spray, looked_at = address(draw), 0
    for number, member in enumerate(names):
        looked_at += guess(app, spray, member.username).status_code == 401
        if number < ADDRESS[0] - 1 and number % 3 == 2:
            right(app, spray, mallory, "refused the right password of somebody else")
    assert looked_at <= ADDRESS[1], f"looked at {looked_at} guesses from an address that logs in in between"
    hot = heat(app, draw, mallory.username)
    right(app, home, mallory, "locked the owner out because strangers had guessed")
    for stranger in hot[:3]:
        refused(guess(app, stranger, mallory.username), "gave strangers new guesses because the owner had logged in")


@exercise("5.4")
@attack("CWE-362", "CWE-367", "ASVS 5.0 15.4.2")
def test_guesses_at_once_share_the_budget(app: App, draw: Draw) -> None:
    """Guesses at the same moment share a budget like others: 6 of one name, 30 of one address, one of a hot name.

    Hashing takes its time. Whoever counts afterwards lets everybody in who came meanwhile.

    Hint: count a guess while it is looked at; or let one wait for the other.
    """
    [member] = join(app, draw, cost=9)
    looked_at = at_once(app, draw, [member.username] * 24)
    assert PAIR[0] <= looked_at <= PAIR[1], f"looked at {looked_at} of 24 guesses that came at once; 4 to 6 are allowed"
    many = [one.username for one in join(app, draw, 50, cost=8)]
    looked_at = at_once(app, draw, many)
    assert looked_at <= ADDRESS[1], (
        f"looked at {looked_at} of 50 names that one address guessed at once; 30 are allowed"
    )
    [hot] = join(app, draw, cost=8)
    heat(app, draw, hot.username)
    for _ in range(4):  # whoever looks first and counts later is not caught by every crowd
        looked_at = at_once(app, draw, [hot.username] * 12)
        assert looked_at <= 1, f"looked at {looked_at} of 12 guesses of a hot name that came at once; one is allowed"


@exercise("5.4")
@attack("CWE-348", "ASVS 5.0 15.3.4")
def test_headers_buy_no_guesses(app: App, draw: Draw) -> None:
    """Another X-Forwarded-For, user agent or cookie is no other address.

    Here the client is the connection's address. No proxy is trusted.

    Hint: `request.client.host`.
    """
    [member] = join(app, draw)
    source, names = address(draw), ("X-Forwarded-For", "X-Real-IP", "Forwarded", "User-Agent", "Cookie")
    form = {"grant_type": "password", "username": member.username, "password": "a wrong guess"}
    looked_at = 0
    for _ in range(PAIR[1] + 3):
        forged = {name: f"for=198.51.100.{draw.number(1, 255)}" for name in names}
        forged |= {name: f"198.51.100.{draw.number(1, 255)}" for name in names[:2]}
        answer = app.at(source).post("/token", data=form, headers=forged)
        looked_at += expect(answer, (401, 429), "was confused by a header").status_code == 401
    assert looked_at <= PAIR[1], f"looked at {looked_at} guesses of one name from one address, with forged headers"
