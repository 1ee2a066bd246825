"""9.3 Pin with hashes: what pip makes of a lock, and of a wheel that somebody has swapped."""

from dataclasses import dataclass

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from checks.wheelhouse import BadLock, House, Pin, applies, harmless, pins, refusal
from lab_app.harness import CheckFailed, attack, exercise, legit
from lab_app.harness.draw import Draw
from lab_app.harness.evidence import Exchange
from lab_app.harness.world import Answer, Desk
from lab_app.runner.sandbox import AnswerTrouble

READ = "def _lock():\n    return lock\n"


@dataclass
class Locked:
    """A house of wheels, and the lock that the answer made for it, or what was wrong with that."""

    house: House
    lock: str = ""
    bad: str = ""
    trouble: AnswerTrouble | None = None

    def ask(self, desk: Desk) -> "Locked":
        """Get the lock."""
        desk.write({f"wheels/{file}": content for file, content in self.house.wheels.items()})
        env = {"WHEEL_DIR": f"{desk.where}/wheels", "REQUIREMENTS": self.house.wanted}
        try:
            self.lock = harmless(desk.call("_lock", env, READ))
        except AnswerTrouble as trouble:
            self.trouble = trouble
        except BadLock as bad:
            self.bad = str(bad)
        return self

    def pins(self) -> dict[str, Pin]:
        """What the lock pins. Raises CheckFailed and AnswerTrouble."""
        self.expect_harmless()
        try:
            return pins(self.lock)
        except BadLock as bad:
            raise self.failed(str(bad)) from bad

    def expect_harmless(self) -> None:
        """The lock can be given to pip. Raises CheckFailed and AnswerTrouble."""
        if self.trouble:
            raise self.trouble
        if self.bad:
            raise self.failed(self.bad)

    def failed(self, found: str, safe: str = "") -> CheckFailed:
        """`found` completes "your app …"."""
        asked = f"WHEEL_DIR holds {', '.join(sorted(self.house.wheels))}\nREQUIREMENTS:\n{self.house.wanted}"
        return CheckFailed(found, safe, Exchange(asked, self.lock[:2000], ""))


def plain(draw: Draw) -> House:
    """Two packages, what they need, what that needs, older versions, strangers; and one that is needed by another."""
    house, n = House(), draw.number(2, 8)
    top, side, deep, deeper, stranger, other = (draw.username() for _ in range(6))
    for version in (f"{n}.9.1", f"{n}.10.0", f"{n}.2.0"):
        house.put(top, version, f"{deep}>={n}.1")
        house.put(side, version)
    for version in (f"{n}.0.5", f"{n}.1.0", f"{n}.1.7"):
        house.put(deep, version, deeper)
    house.put(deeper, "0.4")
    house.put(stranger, f"{n}.0")
    house.put(other, f"{n}.0", stranger)
    house.wanted, house.indirect = f"{top}\n{side}>={n}.3,<{n}.10\n", (deep, deeper)
    return house


def knotty(draw: Draw) -> House:
    """Names of several spellings, extras, markers, a bound that somebody else sets, a wheel for another Python.

    Two ask for another extra each of one package, and two packages need each other.
    """
    house, n = House(), draw.number(2, 8)
    asked, unasked, never, bound, setter, cool, old, base = (draw.username() for _ in range(8))
    one, two, speller, late, later = (draw.username() for _ in range(5))
    lines = [f'{asked}>={n} ; extra == "fast"', f'{unasked} ; extra == "slow"', f'{never} ; python_version < "3"']
    house.put(f"{one}_{two}", f"{n}.1", *lines, extras=("fast", "slow"))
    house.put(asked, f"{n}.5")
    house.put(unasked, f"{n}.5")
    house.put(never, f"{n}.5")
    house.put(setter, f"{n}.0", f"{bound}<{n}", cool, f"{base}[most]")
    for version in (f"{n - 1}.0", f"{n - 1}.5", f"{n}.0"):
        house.put(bound, version)
    house.put(cool, "1.0", f"{one.capitalize()}.{two}", old)
    house.put(old, f"{n}.0", cool)
    house.put(old, f"{n}.1", tag="py2-none-any")
    house.put(speller, f"{n}.0", cool.upper(), f"{base}[more]")
    ends = [f'{late} ; extra == "more"', f'{later} ; extra == "most"']
    house.put(base, f"{n}.4", *ends, extras=("more", "most"))
    for end in (late, later):
        house.put(end, f"{n}.3")
    wanted = [base, bound, f"{one}-{two.upper()}[fast]", setter, speller, f'{unasked} ; python_version < "3"']
    house.wanted = "\n".join(draw.random.sample(wanted, len(wanted))) + "\n"
    return house


@pytest.fixture(scope="session")
def locks() -> dict[str, Locked]:
    """What the answer has locked, once for all checks of a run: resolving takes its time."""
    return {}


@pytest.fixture
def simple(locks: dict[str, Locked], answer: Answer) -> Locked:
    """A plain house and its lock."""
    if "simple" not in locks:
        locks["simple"] = Locked(plain(Draw(answer.seed, answer.title, "plain"))).ask(Desk(answer))
    return locks["simple"]


@pytest.fixture
def hard(locks: dict[str, Locked], answer: Answer) -> Locked:
    """A knotty house and its lock."""
    if "hard" not in locks:
        locks["hard"] = Locked(knotty(Draw(answer.seed, answer.title, "knotty"))).ask(Desk(answer))
    return locks["hard"]


def expect_installed(one: Locked) -> None:
    """pip would install the lock, and what is wanted is among it. Raises CheckFailed and AnswerTrouble."""
    pinned = one.pins()
    if why := refusal(one.house, one.lock, "--require-hashes"):
        raise one.failed(f"has a lock that pip refuses: {why}")
    for wanted in map(Requirement, one.house.wanted.splitlines()):
        pin = pinned.get(canonicalize_name(wanted.name))
        version = pin.version if pin else None
        if applies(wanted, "") and (version is None or not wanted.specifier.contains(version, prereleases=True)):
            raise one.failed(f"does not lock {wanted}, which is wanted")
    if missing := one.house.closure(pinned) - set(pinned):  # an extra's, for which pip does not ask
        raise one.failed(f"does not lock {', '.join(sorted(missing))}, which is needed in turn")


@exercise("9.3")
@legit("ASVS 5.0 15.2.4", "CWE-494")
def test_pip_installs_the_lock(simple: Locked) -> None:
    """pip accepts the lock, with everything that is wanted and everything that this needs in turn.

    With --require-hashes pip refuses the whole file when a single dependency is missing from it.

    Hint: `pip install --dry-run --report -` writes down all that it would install, with hashes.
    """
    expect_installed(simple)


@exercise("9.3")
@legit("ASVS 5.0 15.2.4")
def test_bounds_and_markers_are_kept(hard: Locked) -> None:
    """Extras, markers, bounds set by others, circles, other spellings and wheels for other Pythons are handled.

    The newest version is not always the one that fits.

    Hint: let pip's own resolver choose, and only write down what it chose.
    """
    expect_installed(hard)


@exercise("9.3")
@attack("ASVS 5.0 15.2.3", "CWE-1357")
def test_nothing_else_is_locked(simple: Locked, hard: Locked) -> None:
    """What nobody asked for is not in the lock, however well its wheel fits.

    Every package runs with all the rights of your app. The one that you do not install cannot hurt you.

    Hint: start from `REQUIREMENTS` and follow the requirements, rather than listing the folder.
    """
    for one in (simple, hard):
        pinned = one.pins()
        if more := set(pinned) - one.house.closure(pinned):
            raise one.failed(f"locks {', '.join(sorted(more))}, which nothing here needs")


@exercise("9.3")
@attack("CWE-494", "CWE-353")
def test_every_line_is_a_pin_with_its_hash(simple: Locked, hard: Locked) -> None:
    """Every line is `name==version` with the sha256 of that wheel; there are no options and no addresses.

    One line without a hash is a door for whoever can write to the shelf.

    Hint: `hashlib.sha256` over the bytes of the file, as `--hash=sha256:…` behind the pin.
    """
    for one in (simple, hard):
        for name, pin in one.pins().items():
            if pin.version is None:
                raise one.failed(f"does not pin {name} with ==")
            if not pin.hashes:
                raise one.failed(f"gives no sha256 for {name}")
            if not pin.hashes <= one.house.hashes(name, pin.version):
                raise one.failed(f"allows {name} a hash that no wheel of {pin.version} has")


@exercise("9.3")
@attack("CWE-494", "CWE-829")
def test_a_swapped_wheel_is_refused(simple: Locked, draw: Draw) -> None:
    """A wheel with other code under the same name and version is not installed, not even by a plain `pip install -r`.

    The code in a wheel runs as you. Its name proves nothing about who wrote it.

    Hint: hashes of everything, also of what is needed only indirectly.
    """
    simple.expect_harmless()
    swapped = draw.random.choice(simple.house.indirect)
    if not refusal(simple.house.tampered(swapped), simple.lock):
        raise simple.failed(f"has a lock with which pip installs {swapped} although somebody has swapped its wheel")
