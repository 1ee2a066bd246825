"""Which stored password hashes count as adaptive: PHC strings and passlib's forms, with enough work in them."""

import re

H64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # crypt's own base64
BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53}")
BCRYPT_SHA256 = re.compile(r"\$bcrypt-sha256\$(v=2,t=)?2[aby],(r=)?(?P<cost>\d+)\$[^$]+\$[^$]+")
PBKDF2 = re.compile(r"[${]?pbkdf2[-_](?P<digest>sha256|sha512)[$}](?P<work>[^$]+)\$[^$]+\$[^$]+", re.IGNORECASE)
SCRYPT = re.compile(r"\$scrypt\$(?P<settings>[a-z]+=\d+(,[a-z]+=\d+)*)\$[^$]+\$[^$]+", re.IGNORECASE)
SCRYPT_CRYPT = re.compile(r"\$7\$(?P<log>[./0-9A-Za-z])[./0-9A-Za-z]{10}[^$]*\$[^$]+")
ARGON2ID = re.compile(r"\$argon2id\$(v=\d+\$)?(?P<settings>[a-z]+=\d+(,[a-z]+=\d+)*)\$[^$]+\$[^$]+")
DJANGO = re.compile(r"^(argon2|bcrypt\$|bcrypt_sha256\$)(?=\$)")  # passlib knows Django's names before a usual hash
LEAST_BCRYPT, LEAST_MEMORY, LEAST_PASSES, LEAST_SCRYPT = 10, 19_456, 2, 14
LEAST_ROUNDS = {"sha256": 600_000, "sha512": 210_000}  # the latter from OWASP's cheat sheet


def adaptive(stored: str) -> bool:
    """Whether a hash is argon2id, scrypt, bcrypt or PBKDF2 with at least the work that the contract of 1.2 names."""
    hash_ = DJANGO.sub("", stored.strip())
    if match := BCRYPT.fullmatch(hash_) or BCRYPT_SHA256.fullmatch(hash_):
        return int(match["cost"]) >= LEAST_BCRYPT
    if match := PBKDF2.fullmatch(hash_):
        return _rounds(match["work"]) >= LEAST_ROUNDS[match["digest"].lower()]
    if match := SCRYPT_CRYPT.fullmatch(hash_):
        return H64.index(match["log"]) >= LEAST_SCRYPT
    if match := SCRYPT.fullmatch(hash_):
        given = _settings(match["settings"].lower())
        return given.get("ln", 0) >= LEAST_SCRYPT or given.get("n", 0) >= 1 << LEAST_SCRYPT
    if match := ARGON2ID.fullmatch(hash_):
        given = _settings(match["settings"])
        return given.get("m", 0) >= LEAST_MEMORY and given.get("t", 0) >= LEAST_PASSES
    return False


def _settings(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in (pair.split("=") for pair in text.split(","))}


def _rounds(work: str) -> int:
    """600000, or i=600000,l=32 as PHC writes it."""
    number = re.fullmatch(r"(?:[a-z]+=)?(\d+)(,[a-z]+=\d+)*", work)
    return int(number[1]) if number else 0
