"""What an OpenAPI document says that one may ask."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from lab_app.audit.examples import example, resolved

METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
READING = ("GET", "HEAD", "OPTIONS")
JSON = re.compile(r"application/(?:[\w.+-]+\+)?json$")
CLOSED = ("uuid", "date", "date-time", "binary")  # formats that no text gets into
FORM = "application/x-www-form-urlencoded"
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a request; `place` is path, query, header or cookie."""

    name: str
    place: str
    required: bool
    schema: dict[str, Any]

    @property
    def takes_text(self) -> bool:
        """Whether any text may stand there."""
        return any(
            types_of(one) & {"string", ""} and not one.get("enum") and one.get("format") not in CLOSED
            for one in self._options()
        )

    @property
    def takes_number(self) -> bool:
        """Whether a number may stand there."""
        return any(types_of(one) & {"integer", "number"} for one in self._options())

    def _options(self) -> Iterator[dict[str, Any]]:
        """The schema, or those that it chooses from; of a list that of its items."""
        for one in self.schema.get("anyOf") or (self.schema,):
            inner = one.get("items") if isinstance(one, dict) and "array" in types_of(one) else one
            if isinstance(inner, dict):
                yield inner


def types_of(schema: Mapping[str, Any]) -> set[str]:
    """A schema's types, which may be one or a list; "" for any."""
    kind = schema.get("type", "")
    return set(map(str, kind)) if isinstance(kind, list) else {str(kind)}


@dataclass(frozen=True)
class Operation:
    """A method of a path. `media` is the type of its body, "" without one; `secured` if it names a security scheme."""

    method: str
    path: str
    parameters: tuple[Parameter, ...]
    media: str
    body: Any
    secured: bool
    document: Document = field(repr=False, compare=False)
    name: str = ""
    prefix: str = ""  # where the app is mounted, which the document's paths leave out

    @property
    def where(self) -> str:
        """As a finding names it."""
        return f"{self.method} {self.path}"

    @property
    def reads(self) -> bool:
        """Whether its method promises to change nothing (RFC 9110 §9.2.1)."""
        return self.method in READING

    @property
    def last(self) -> str:
        """The name of the path's last parameter, "" without one."""
        return self.path.rpartition("{")[2].partition("}")[0] if "{" in self.path else ""

    @property
    def collection(self) -> str:
        """The path above the last parameter."""
        return self.path[: self.path.rindex("{")].rstrip("/") if "{" in self.path else self.path

    def request(
        self, values: Mapping[str, Any] | None = None, known: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What `Asker.send` takes: an example of everything required, and of what `values` name their value."""
        values = values or {}
        path, query, headers, cookies = self.path, {}, {}, []
        for each in self.parameters:
            if each.name not in values and not each.required:
                continue
            value = values.get(each.name, None)
            value = example(each.schema, self.document) if value is None else value
            if each.place == "path":
                path = path.replace("{" + each.name + "}", quote(str(value), safe="") or "-")
            elif each.place == "query":
                query[each.name] = value
            elif each.place == "header":
                headers[each.name] = _in_header(value)
            elif each.place == "cookie":
                cookies.append(f"{each.name}={_in_header(value)}")
        headers |= {"Cookie": "; ".join(cookies)} if cookies else {}
        path = re.sub(r"{[^{}]*}", "1", path)
        made: dict[str, Any] = {"method": self.method, "path": self.prefix + path, "params": query, "headers": headers}
        if JSON.match(self.media):
            made["json"] = example(self.body, self.document, known)
        elif self.media == FORM:
            made["form"] = {k: v for k, v in (example(self.body, self.document, known) or {}).items() if v is not None}
        return made


def _in_header(value: Any) -> str:
    return str(value).encode("ascii", "replace").decode().replace(";", "")


def operations(document: Document, prefix: str = "") -> list[Operation]:
    """Every operation, those with fewer parameters first: what they answer is of use to the others."""
    paths = document.get("paths")
    found = [
        operation
        for path, item in (paths.items() if isinstance(paths, dict) else ())
        if isinstance(item, dict) and isinstance(path, str)
        for operation in _of_path(path, item, document, prefix)
    ]
    return sorted(found, key=lambda each: (each.path.count("{"), not each.reads))


def _of_path(path: str, item: dict[str, Any], document: Document, prefix: str) -> Iterator[Operation]:
    for method in METHODS:
        about = item.get(method)
        if not isinstance(about, dict):
            continue
        listed = [*(item.get("parameters") or ()), *(about.get("parameters") or ())]
        media, body = _body(resolved(about.get("requestBody"), document))
        secured = about.get("security", document.get("security"))
        yield Operation(
            method.upper(),
            path,
            tuple(_parameter(one) for each in listed if (one := resolved(each, document)) and one.get("name")),
            media,
            body,
            bool(secured),
            document,
            str(about.get("operationId", "")),
            prefix,
        )


def _parameter(about: dict[str, Any]) -> Parameter:
    schema = about.get("schema")
    place = str(about.get("in", "query"))
    return Parameter(
        str(about["name"]),
        place,
        bool(about.get("required")) or place == "path",
        schema if isinstance(schema, dict) else {},
    )


def _body(about: dict[str, Any]) -> tuple[str, Any]:
    content = about.get("content")
    if not isinstance(content, dict) or not content:
        return "", None
    media = next((each for each in content if JSON.match(each)), next(iter(content)))
    inner = content[media]
    return media, inner.get("schema") if isinstance(inner, dict) else None


def prefix_of(document: Document) -> str:
    """The path of the first server, for an app under a prefix: `root_path` shows there."""
    servers = document.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else {}
    url = first.get("url") if isinstance(first, dict) else ""
    return url.rstrip("/") if isinstance(url, str) and url.startswith("/") else ""
