"""Small apps to be audited, written anew each time: which flaws one has, nobody knows but who asked for it."""

import os
import types
from collections.abc import Iterable
from string import Template
from typing import Any
from unittest.mock import patch

from lab_app.harness.draw import Draw
from lab_app.larkspur.audited.parts import BASE, FLAWED_PINS, PARTS, PINS, PLAIN, TWINS, WORDS
from lab_app.runner.services.serving import Served

PIN = "pin"
FLAWS = (*PARTS, PIN)
ENVIRONMENT = {"ENVIRONMENT": "development", "ARGON2_KIB": "64"}  # cheap hashes: a secret that lives for seconds


class Audited:
    """An app with these flaws, or a clean `twin`, on 127.0.0.1 from `start` to `stop`; `words` is what was drawn."""

    def __init__(self, words: dict[str, str], flaws: Iterable[str] = (), twin: str = "") -> None:
        self.words, self.flaws, self.twin = words, frozenset(flaws), twin
        self.source = source(words, self.flaws, twin)
        self.requirements = words["pins"] + (words["flawed_pin"] if PIN in self.flaws else "")
        self.names = executed(self.source, words["secret"])
        self.served = Served(self.names["app"])

    def start(self) -> "Audited":
        """Listen."""
        self.served.start()
        return self

    def stop(self) -> None:
        """Close the port."""
        self.served.stop()
        self.names["db"].close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.served.port}"

    def without(self, flaw: str) -> "Audited":
        """The same app and its rows, that flaw mended."""
        other = Audited(self.words, self.flaws - {flaw}, self.twin)
        self.names["db"].backup(other.names["db"])
        return other

    def forget(self) -> None:
        """Let a minute pass, for the limit on guesses."""
        self.names["tried"].clear()


def words(draw: Draw) -> dict[str, str]:
    """Paths, parameters and values that no audit can know beforehand."""
    drawn = {name: draw.random.choice(choice.split()) for name, choice in WORDS.items()}
    names = {name: draw.username() for name in ("title", "logger", "book", "other_book", "frontend", "version")}
    numbers = {"most": draw.number(5, 9), "first_loan": draw.number(1_000, 90_000), "shelf_count": draw.number(20, 90)}
    pin = draw.random.choice(FLAWED_PINS)
    pins = [one for one in draw.random.sample(PINS, len(PINS)) if named(one) != named(pin)]
    return {
        **drawn,
        **names,
        **{name: str(number) for name, number in numbers.items()},
        "secret": draw.secret(),
        "pins": "".join(locked(draw, one) for one in pins),
        "pin": pin,
        "flawed_pin": locked(draw, pin),
    }


def named(pin: str) -> str:
    """The name of what is pinned."""
    return pin.partition("==")[0]


def locked(draw: Draw, pin: str) -> str:
    """A pin as a lock file has it."""
    return f"{pin} \\\n    --hash=sha256:{draw.secret()}\n"


def source(words: dict[str, str], flaws: Iterable[str], twin: str = "") -> str:
    """The text of an app."""
    parts = PLAIN | {name: variants[name in flaws] for name, variants in PARTS.items()}
    parts |= dict([TWINS[twin]] if twin else [])
    written = {name: Template(part).substitute(words) for name, part in parts.items()}
    return Template(BASE).substitute(written | words)


def executed(text: str, secret: str) -> dict[str, Any]:
    """The names that an app's text defines."""
    names = types.ModuleType("audited").__dict__
    with patch.dict(os.environ, ENVIRONMENT | {"JWT_SECRET": secret}):
        exec(compile(text, "<audited>", "exec"), names)  # noqa: S102 - our own text, put together just now
    return names
