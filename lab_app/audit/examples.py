"""A value that a JSON schema allows, the same each time: what a friendly client would send."""

import re
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

DEEPEST = 6
Schema = Mapping[str, Any]
BY_FORMAT = {
    "email": "reader@audit.example.com",
    "uuid": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00",
    "uri": "https://audit.example/page",
    "url": "https://audit.example/page",
    "ipv4": "192.0.2.7",
    "hostname": "audit.example",
    "password": "correct horse Battery 7 staple!",
}
TEXTS = ("reader", "reader7", *BY_FORMAT.values(), "7", "a", "A", "READER", "Reader Seven", "+12025550123", "en", "EUR")


def example(schema: Any, document: Mapping[str, Any], known: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
    """An example of `schema`; a property of which `known` has the name gets that value. References are looked up."""
    schema = resolved(schema, document)
    for name in ("example", "default", "const"):
        if name in schema and not known and schema[name] is not None:
            return schema[name]
    for name in ("examples", "enum"):
        if isinstance(schema.get(name), list) and schema[name] and not (known and name == "examples"):
            return schema[name][0]
    for name in ("anyOf", "oneOf"):
        if schema.get(name):
            return example(next(filter(_no_null, schema[name]), schema[name][0]), document, known, depth)
    if depth > DEEPEST:
        return None
    if schema.get("allOf"):
        parts = [example(part, document, known, depth) for part in schema["allOf"]]
        return {k: v for part in parts if isinstance(part, dict) for k, v in part.items()} or parts[0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        return _object(schema, document, known or {}, depth)
    if kind == "array":
        return [example(schema.get("items", {}), document, known, depth + 1)] * max(
            1, min(schema.get("minItems", 1), 20)
        )
    if kind in ("integer", "number"):
        return _number(schema)
    if kind == "boolean":
        return False
    return None if kind == "null" else text(schema)


def resolved(schema: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without `$ref`; {} for one that leads nowhere."""
    for _ in range(DEEPEST):
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            break
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        schema = found
    return schema if isinstance(schema, dict) and "$ref" not in schema else {}


def properties(schema: Any, document: Mapping[str, Any], depth: int = 0) -> dict[str, dict[str, Any]]:
    """All properties of an object's schema by name, those of the objects in it too."""
    schema = resolved(schema, document)
    found: dict[str, dict[str, Any]] = {}
    if depth > DEEPEST:
        return found
    for name in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(name) or ():
            found |= properties(part, document, depth + 1)
    for name, inner in (schema.get("properties") or {}).items():
        found |= {name: resolved(inner, document)} | properties(inner, document, depth + 1)
    return found


def text(schema: Schema) -> str:
    """A string that keeps the schema's length and pattern."""
    if schema.get("format") in BY_FORMAT:
        return BY_FORMAT[schema["format"]]
    low, high, pattern = schema.get("minLength") or 0, schema.get("maxLength"), schema.get("pattern")
    for each in TEXTS:
        padded = (each * (low // len(each) + 1))[: max(low, len(each))] if low > len(each) else each
        padded = padded[:high] if high is not None else padded
        if pattern is None or _matches(pattern, padded):
            return padded
    return drawn(pattern or "", low, high)


@cache
def drawn(pattern: str, low: int, high: int | None) -> str:
    """A string that only a look at the pattern finds; some string, if even that finds none."""
    from hypothesis import find, settings
    from hypothesis import strategies as st

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            strategy = st.from_regex(pattern, fullmatch=True)
            fits = lambda value: low <= len(value) <= (high or 10**6)  # noqa: E731
            return str(find(strategy, fits, settings=settings(database=None, max_examples=200, derandomize=True)))
        except Exception:
            return "reader"


def _matches(pattern: str, value: str) -> bool:
    try:
        return bool(re.search(pattern, value))
    except re.error:
        return False


def _no_null(schema: Any) -> bool:
    return not (isinstance(schema, dict) and schema.get("type") == "null")


def _number(schema: Schema) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    value = 1 if low is None else low + ("minimum" not in schema)
    value = min(value, high - ("maximum" not in schema)) if high is not None else value
    step = schema.get("multipleOf")
    value = -(-value // step) * step if step else value
    return int(value) if schema.get("type") == "integer" else value


def _object(schema: Schema, document: Mapping[str, Any], known: Mapping[str, Any], depth: int) -> dict[str, Any]:
    made = {}
    required = schema.get("required") or ()
    for name, inner in (schema.get("properties") or {}).items():
        value = known.get(plain(name))
        if value is not None and resolved(inner, document).get("type", "string") == "string":
            made[name] = value
        elif name in required or not required:
            made[name] = example(inner, document, known, depth + 1)
    return made


def plain(name: str) -> str:
    """A property's name without what differs from house to house: `userName`, `user_name` and `username` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
