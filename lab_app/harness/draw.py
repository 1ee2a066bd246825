"""Values drawn afresh on every run, the same again for the same seed."""

import random

SEEDS = 10**15  # too many for an answer to try them all against a value that it sees, and to know the others by it

SYLLABLES = tuple("an bel cor da el fen gri ho il jun ka lo mir nes or pa quin ros sa tol ul ven wil yar".split())
WORDS = tuple("amber barge cedar delta ember fjord gable heron inlet jetty knoll larch maple north".split())


class Draw:
    """A source of names, passphrases and ids that no answer can know beforehand."""

    def __init__(self, *seed: object) -> None:
        self.random = random.Random(":".join(map(str, seed)))  # noqa: S311 - repeatable on purpose

    def username(self) -> str:
        """8 to 16 of a-z and 0-9, beginning with a letter."""
        return "".join(self.random.choices(SYLLABLES, k=4)) + str(self.random.randrange(10, 9999))

    def email(self) -> str:
        """An address nobody has."""
        return f"{self.username()}@{self.username()}.example"

    def passphrase(self) -> str:
        """A password of about 30 characters, spaces between its words."""
        return " ".join(self.random.choices(WORDS, k=4)) + f" {self.random.randrange(1000, 9999)}"

    def secret(self, characters: int = 64) -> str:
        """Lower-case hexadecimal digits."""
        return f"{self.random.getrandbits(characters * 4):0{characters}x}"

    def number(self, low: int, high: int) -> int:
        """low ≤ number < high"""
        return self.random.randrange(low, high)
