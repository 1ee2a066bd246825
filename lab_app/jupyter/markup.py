"""Templates, and what makes text from a hostile answer safe to show."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).with_name("templates")


def printable(text: str) -> str:
    """Text without the control characters, bidirectional overrides and lone surrogates of a hostile answer."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def link(source: str) -> str:
    """Where a source can be read, for those that have an address of their own; else nothing."""
    if found := re.fullmatch(r"CWE-(\d+)", source):
        return f"https://cwe.mitre.org/data/definitions/{found[1]}.html"
    if found := re.fullmatch(r"RFC (\d+)(?: §([\d.]+))?", source):
        return f"https://www.rfc-editor.org/rfc/rfc{found[1]}" + (f"#section-{found[2]}" if found[2] else "")
    if source.startswith("CSP3 #"):
        return "https://www.w3.org/TR/CSP3/" + source.removeprefix("CSP3 ")
    return ""


def code(text: str) -> Markup:
    """Our own prose, its `names` set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(printable(text)))))  # noqa: S704 - escaped first


def render(template: str, folder: Path = TEMPLATES, **values: Any) -> str:
    """A template filled in, everything escaped; those of `folder` may extend ours."""
    return _templates(folder).get_template(template).render(values)


@cache
def _templates(folder: Path) -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"link": link, "code": code}
    return made
