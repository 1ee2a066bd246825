"""6.1 Refuse to start: which settings are taken, which are not, and what is said about them."""

from typing import Any

from checks.leaks import leaked, masked
from checks.starting import (
    NAMES,
    SECRETS,
    Start,
    api_key,
    changed,
    expect_refused,
    good_settings,
    secrets_of,
    start,
)
from lab_app.harness import CheckFailed, Desk, attack, exercise, legit
from lab_app.harness.draw import Draw

USE = "def use(names): return names['load_settings']()"
BLANK = {"empty": "", "a space": " ", "tabs and newlines": "\t\n \r\n", "forty spaces": " " * 40}
PADDED = "changeme-"
CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюя"  # two bytes each
SOME = 6  # so many characters from one end are a part of a value


def refused(desk: Desk, good: dict[str, str], name: str, values: dict[str, str], optimize: int = -1) -> None:
    """The cell refuses each of these values of a variable, given by what it is. Raises CheckFailed."""
    tries = [(f"{name} {about}", changed(good, name, value)) for about, value in values.items()]
    for one in start(desk, USE, tries, good, optimize):
        expect_refused(one, name)


def returned(one: Start) -> dict[str, Any]:
    """The settings that a start came to."""
    return one.value if isinstance(one.value, dict) else {}


def expect_settings(one: Start, wanted: dict[str, str], found: str) -> None:
    """The cell started with these settings. Raises CheckFailed."""
    if one.told:
        raise CheckFailed(f"refused to start with {one.about}", "These settings are good.", one.exchange())
    wrong = [name for name in wanted if returned(one).get(name) != wanted[name]]
    if wrong:
        raise CheckFailed(
            f"{found} ({', '.join(wrong)})", "Keys and values are those of the variables.", one.exchange()
        )


def shown_in(told: str, values: dict[str, str]) -> set[str]:
    """The names of those values of which a text shows a part: anywhere, masked, or the first or last few characters."""
    ends = {name for name, value in values.items() if value[:SOME] in told or value[-SOME:] in told}
    return {*leaked(told, values), *masked(told, values), *ends}


def env_file(settings: dict[str, str]) -> dict[str, bytes]:
    """A `.env` that holds these settings."""
    return {".env": "".join(f"{name}={value}\n" for name, value in settings.items()).encode()}


@exercise("6.1")
@legit("ASVS 5.0 13.3.1", "CWE-547")
def test_good_settings_are_returned(desk: Desk, draw: Draw) -> None:
    """Good settings are taken, and come back as they are.

    Secrets of 32 bytes are long enough, whatever alphabet they are in, and no length is asked of DATABASE_URL.

    Hint: return `{"JWT_SECRET": …, "API_SECRET_KEY": …, "DATABASE_URL": …}`, plain strings.
    """
    good = good_settings(draw)
    good["DATABASE_URL"] = "sqlite:///a.db"
    placeholder = f"postgresql://larkspur:changeme@{draw.username()}.example/larkspur"
    tries = [
        ("good settings", good),
        ("other good settings", good_settings(draw)),
        ("secrets of 32 bytes", good | {"JWT_SECRET": draw.secret(32), "API_SECRET_KEY": api_key(draw, 32)}),
        ("secrets of 128 bytes", good | {"JWT_SECRET": draw.secret(128), "API_SECRET_KEY": api_key(draw, 128)}),
        ("secrets in base64", good | {"JWT_SECRET": f"{api_key(draw, 42)}+/=", "API_SECRET_KEY": f"{api_key(draw)}="}),
        ("a DATABASE_URL with the password changeme", good | {"DATABASE_URL": placeholder}),
    ]
    for name in SECRETS:
        value = "".join(draw.random.sample(CYRILLIC, 20))
        tries.append((f"a {name} of 20 characters in 40 bytes", good | {name: value}))
    for one in start(desk, USE, tries, good):
        expect_settings(one, one.given, "did not return the values of its environment")


@exercise("6.1")
@legit("CWE-547", "ASVS 5.0 13.3.1")
def test_env_file_in_the_working_directory_is_read(desk: Desk, draw: Draw) -> None:
    """What the environment does not set is read from `.env` in the working directory.

    That is how people work on their own machines, without secrets in the code.

    Hint: `SettingsConfigDict(env_file=".env")`, or `load_dotenv(".env")`.
    """
    good = good_settings(draw)
    desk.write(env_file(good))
    [whole] = start(desk, USE, [("all settings in .env", {})], good)
    expect_settings(whole, good, "did not read .env in the working directory")
    for name in NAMES:
        desk.write(env_file(changed(good, name, None)))
        [partly] = start(desk, USE, [(f"{name} set, and the rest in .env", {name: good[name]})], good)
        expect_settings(partly, good, "did not take what is set from the environment and the rest from .env")


@exercise("6.1")
@legit("CWE-454", "ASVS 5.0 13.3.1")
def test_environment_wins_over_env_file(desk: Desk, draw: Draw) -> None:
    """A variable that is set counts, whatever `.env` says of it.

    Otherwise a file that was left in an image decides which key production signs with.

    Hint: `load_dotenv` leaves alone what is set, unless told to override.
    """
    good, stale = good_settings(draw), good_settings(draw)
    desk.write(env_file(stale))
    tries = [(f"{name} set, and another one in .env", changed({}, name, good[name])) for name in NAMES]
    for one in [*start(desk, USE, [("all set, and others in .env", good), *tries], good)]:
        expect_settings(one, stale | one.given, "let .env win over the environment")


@exercise("6.1")
@attack("CWE-1188", "CWE-1394", "ASVS 5.0 13.3.1")
def test_missing_settings_are_refused(desk: Desk, draw: Draw) -> None:
    """Without one of its variables the app does not start, and says which.

    A default in the code is a key that everybody knows. An app that starts without its own will use it.

    Hint: `os.environ["JWT_SECRET"]` raises, `os.getenv` does not; a field of a settings class without a default does.
    """
    good = good_settings(draw)
    for one in start(desk, USE, [(f"no {name}", changed(good, name, None)) for name in NAMES], good):
        expect_refused(one, one.about.removeprefix("no "))
    [nothing] = start(desk, USE, [("nothing set", {})], good)
    expect_refused(nothing, *NAMES)


@exercise("6.1")
@attack("CWE-1188", "CWE-1391")
def test_empty_and_blank_settings_are_refused(desk: Desk, draw: Draw) -> None:
    """A variable that is set to nothing, or to spaces, is as bad as none, whatever `.env` says of it.

    `JWT_SECRET=` is what is left of a line when a deployment script did not find the value.

    Hint: `.strip()` before you look, for all three. A variable that is set, to nothing too, wins over `.env`.
    """
    good = good_settings(draw)
    for name in NAMES:
        refused(desk, good, name, BLANK)
    desk.write(env_file(good))
    for name in NAMES:
        refused(desk, good, name, {"empty, and a good one in .env": ""})


@exercise("6.1")
@attack("RFC 7518 §3.2", "CWE-1391", "ASVS 5.0 11.2.3")
def test_short_secrets_are_refused(desk: Desk, draw: Draw) -> None:
    """A secret of fewer than 32 bytes is refused.

    HS256 needs a key of 256 bits. Whoever holds one token tries shorter ones at home, without asking the app.

    Hint: compare `len(value.encode())` with 32, for both secrets.
    """
    good = good_settings(draw)
    values = {f"of {length} bytes": api_key(draw, length) for length in (4, 8, 16, 24, 31)}
    for name in SECRETS:
        refused(desk, good, name, values | {"of 31 hexadecimal digits": draw.secret(31)})


@exercise("6.1")
@attack("CWE-1394", "CWE-798", "ASVS 5.0 13.3.1")
def test_placeholders_are_refused(desk: Desk, draw: Draw) -> None:
    """A placeholder is refused in any case, and also when it is repeated or padded until it is long enough.

    `your-secret-key` stands in every tutorial, and so in every word list.

    Hint: look for the placeholder *in* the value, lower case, and not only for a value that equals it.
    """
    good = good_settings(draw)
    values = (
        "changeme",
        "your-secret-key",
        "changeme" * 5,
        "changeme-changeme-changeme-changeme-changeme",
        "ChangeMe_ChangeMe_ChangeMe_ChangeMe_ChangeMe",
        "changeme-before-you-go-to-production",
        "your-secret-key-your-secret-key-your-secret-key",
        "your-secret-key-change-this-in-production",
        "YOUR-SECRET-KEY-AT-LEAST-32-BYTES-LONG",
    )
    for name in SECRETS:
        refused(desk, good, name, {f"“{value}”": value for value in values})


@exercise("6.1")
@attack("CWE-1391", "ASVS 5.0 11.5.1")
def test_one_repeated_character_is_refused(desk: Desk, draw: Draw) -> None:
    """A secret that is one character over and over is refused, however long.

    Length is not randomness: `aaaa…` has 64 characters and no surprise.

    Hint: `len(set(value)) == 1`.
    """
    good = good_settings(draw)
    some = draw.random.choice("bcdefghijk")
    values = {
        "of 64 times a": "a" * 64,
        "of 32 zeros": "0" * 32,
        "of 100 times x": "x" * 100,
        f"of 48 {some}": some * 48,
        "of 40 times é": "é" * 40,  # two bytes each
    }
    for name in SECRETS:
        refused(desk, good, name, values)


@exercise("6.1")
@attack("ASVS 5.0 11.1.1", "OWASP Key Management Cheat Sheet")
def test_equal_secrets_are_refused(desk: Desk, draw: Draw) -> None:
    """Two equal secrets are refused.

    A key has one purpose. Shared, one leak opens both doors, and a value signed for one is good at the other.

    Hint: compare the two after each has passed on its own.
    """
    good = good_settings(draw)
    values = draw.secret(64), api_key(draw), api_key(draw, 32)
    tries = [("two equal secrets", good | {"JWT_SECRET": value, "API_SECRET_KEY": value}) for value in values]
    for one in start(desk, USE, tries, good):
        expect_refused(one, *SECRETS)


@exercise("6.1")
@attack("CWE-1188", "CWE-754")
def test_refusals_do_not_depend_on_asserts(desk: Desk, draw: Draw) -> None:
    """The app refuses bad settings under `python -O` too.

    With -O, or PYTHONOPTIMIZE in an image, Python leaves every assert out.

    Hint: `if …: raise …`. An assert is a note to yourself.
    """
    good = good_settings(draw)
    for name in SECRETS:
        bad = {"of 8 bytes, under python -O": api_key(draw, 8), "of 64 times a, under python -O": "a" * 64}
        refused(desk, good, name, bad | {"empty, under python -O": ""}, optimize=1)
    refused(desk, good, "DATABASE_URL", {"empty, under python -O": ""}, optimize=1)
    same = good | {"API_SECRET_KEY": good["JWT_SECRET"]}
    [equal] = start(desk, USE, [("two equal secrets, under python -O", same)], good, optimize=1)
    expect_refused(equal, *SECRETS)


@exercise("6.1")
@attack("CWE-209", "CWE-532", "ASVS 5.0 16.5.1")
def test_the_exception_tells_no_value(desk: Desk, draw: Draw) -> None:
    """What Python prints of the exception, and of those behind it, holds no value of any variable, not even in part.

    The traceback of a start that failed is in the log of the platform, in the chat and in the ticket.

    Hint: pydantic prints its input unless `hide_input_in_errors` is set; `raise … from None` hides what came before.
    """
    tries = []
    for name in SECRETS:
        good = good_settings(draw)
        tries += [(f"a {name} of {n} bytes", good | {name: api_key(draw, n)}) for n in (12, 20, 31)]
        tries += [(f"no {name}", changed(good, name, None)), (f"an empty {name}", changed(good, name, ""))]
        tries.append((f"a {name} of one character", good | {name: draw.random.choice("bcdefghijk") * 48}))
        tries.append((f"a {name} that begins with {PADDED}", good | {name: PADDED + api_key(draw)}))
    for value in (None, "", "  "):
        tries.append(("a bad DATABASE_URL", changed(good_settings(draw), "DATABASE_URL", value)))
    good = good_settings(draw)
    tries.append(("two equal secrets", good | {"API_SECRET_KEY": good["JWT_SECRET"]}))
    for one in start(desk, USE, tries, good_settings(draw)):
        # The placeholder itself is no secret: an exception may say which one it found.
        values = {name: value.removeprefix(PADDED) for name, value in secrets_of(one.given).items()}
        if names := [name for name in values if name in shown_in(one.told, values)]:
            raise CheckFailed(
                f"was started with {one.about}, and its exception shows {' and '.join(names)}",
                "A safe app names the variable and never its value.",
                one.exchange(),
            )


@exercise("6.1")
@attack("CWE-427", "CWE-454")
def test_env_file_of_a_parent_is_not_read(desk: Desk, draw: Draw) -> None:
    """A `.env` in a folder above the working directory counts for nothing.

    It belongs to another project, or to whoever may write there: in /tmp and in /home that is somebody else.

    Hint: `load_dotenv()` without a path climbs up to the root. Give it the path.
    """
    good, stranger = good_settings(draw), good_settings(draw)
    desk.write(env_file(stranger))
    for inner in (desk.below(draw.username()), desk.below(f"{draw.username()}/{draw.username()}")):
        tries = [(f"no {name}, and one in .env a folder up", changed(good, name, None)) for name in NAMES]
        for one in start(inner, USE, tries, good):
            if any(returned(one).get(name) == stranger[name] for name in NAMES):
                raise CheckFailed("read the .env of a folder above", "There is none where it runs.", one.exchange())
