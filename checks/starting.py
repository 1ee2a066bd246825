"""Starting a cell under many environments, and reading how it fails."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lab_app.harness import CheckFailed, Desk
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import Exchange

SECRETS = ("JWT_SECRET", "API_SECRET_KEY")
NAMES = (*SECRETS, "DATABASE_URL")
# As in base64url, but without vowels and x, so that chance spells no placeholder.
LETTERS = "BCDFGHJKLMNPQRSTVWYZbcdfghjklmnpqrstvwyz0123456789-_"

# One process runs the cell anew for each environment, which costs a millisecond and not fifteen. A cell may read its
# settings when it is run or when it is asked for them: either way the exception is what somebody sees on the terminal.
DRIVER = '''
import os, sys, tempfile, traceback, types

def _family(error):
    """An exception, those that it came from, and those that it is a group of: all that Python prints."""
    while error is not None:
        yield error
        for member in getattr(error, "exceptions", ()):
            yield from _family(member)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)

def _start(environment, optimize):
    os.environ.clear()
    os.environ.update(environment)
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    came = {"value": None, "messages": "", "told": ""}
    with tempfile.TemporaryFile() as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
        try:
            exec(compile(SOURCE, "<cell>", "exec", optimize=optimize), module.__dict__)
            came["value"] = use(module.__dict__)
        except BaseException as error:
            came["messages"] = " ".join(f"{one!s} {one.args!r}" for one in _family(error))
            came["told"] = "".join(traceback.format_exception(error))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        output.seek(0)
        return {**came, "printed": output.read().decode(errors="replace")}

def start(environments, optimize):
    return [_start(environment, optimize) for environment in environments]
'''


@dataclass(frozen=True)
class Start:
    """One start of a cell: what was done to its environment, what `use` gave, and what it said if it refused."""

    about: str
    given: dict[str, str]
    value: Any
    messages: str
    told: str
    printed: str

    def exchange(self) -> Exchange:
        """Evidence."""
        settings = "\n".join(f"{name}={value}" for name, value in self.given.items())
        return Exchange(f"A start with {self.about}:\n{settings}", self.told or f"It started: {self.value!r}", "")


def start(
    desk: Desk, use: str, environments: Iterable[tuple[str, dict[str, str]]], good: dict[str, str], optimize: int = -1
) -> list[Start]:
    """Run the cell under each environment, given with what is the matter with it.

    `use` is the source of a function `use(names)`, which asks a cell that has run for something. Under `good` the cell
    is run a first time. `optimize` is what `python -O` sets to 1. Raises AnswerTrouble.
    """
    driver = f"SOURCE = {desk.answer.source!r}\n{use}\n{DRIVER}"
    rest = {name: value for name, value in desk.env.items() if name not in NAMES}
    tried = list(environments)
    came = desk.call("start", env=good, driver=driver, environments=[rest | env for _, env in tried], optimize=optimize)
    return [Start(about, env, **one) for (about, env), one in zip(tried, came, strict=True)]


def good_settings(draw: Draw) -> dict[str, str]:
    """What every app of section 6 starts with."""
    where = f"larkspur:{api_key(draw)}@db-{draw.username()}.example:5432/{draw.username()}"
    return {
        "JWT_SECRET": draw.secret(64),
        "API_SECRET_KEY": api_key(draw),
        "DATABASE_URL": f"postgresql+psycopg://{where}",
    }


def api_key(draw: Draw, characters: int = 43) -> str:
    """A random value as `secrets.token_urlsafe` writes it."""
    return "".join(draw.random.choices(LETTERS, k=characters))


def secrets_of(settings: dict[str, str]) -> dict[str, str]:
    """What of these settings nobody may see, by name."""
    found = {name: settings[name] for name in SECRETS if settings.get(name, "").strip()}
    password = settings.get("DATABASE_URL", "").partition("@")[0].rpartition(":")[2]
    return found | ({"the password in DATABASE_URL": password} if "@" in settings.get("DATABASE_URL", "") else {})


def changed(settings: dict[str, str], name: str, value: str | None) -> dict[str, str]:
    """The same settings with one of them set otherwise; None unsets it."""
    rest = {other: settings[other] for other in settings if other != name}
    return rest if value is None else rest | {name: value}


def expect_refused(one: Start, *names: str) -> None:
    """The cell raised, and its exception names one of these variables. Raises CheckFailed."""
    if not one.told:
        raise CheckFailed(f"started with {one.about}", "A safe app refuses to start.", one.exchange())
    if not any(name.lower() in one.messages.lower() for name in names):
        wanted = " or ".join(names)
        raise CheckFailed(
            f"refused to start with {one.about}, but its exception does not name {wanted}",
            "Whoever reads it at three in the morning needs to know which variable to mend.",
            one.exchange(),
        )
