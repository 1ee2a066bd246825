"""Says of itself what nobody understands, and answers all the same."""

from typing import Any

from fastapi import FastAPI

LOOP = {"$ref": "#/components/schemas/Loop"}
ODD: dict[str, Any] = {
    "openapi": "9",
    "servers": "none",
    "paths": {
        "/a": {"get": {"parameters": [{"name": "x"}, {}, 7, {"in": "query"}], "responses": None}},
        "/b/{id}": {"get": {"parameters": [{"name": "id", "in": "path", "schema": {"$ref": "#/nowhere"}}]}},
        "/c": {"post": {"requestBody": {"content": {"application/json": {"schema": LOOP}}}}, "get": None, "x-y": 1},
        "/d": {"get": {"parameters": "many"}},
        "/e": 5,
        "/f": {
            "get": {"parameters": [{"name": "p", "in": "query", "schema": {"type": ["string"], "pattern": "(?P<"}}]}
        },
    },
    "components": {"schemas": {"Loop": {"type": "object", "properties": {"loop": LOOP}, "required": ["loop"]}}},
}
app = FastAPI()
app.openapi = lambda: ODD  # type: ignore[method-assign]


@app.get("/{path:path}")
@app.post("/{path:path}")
def anything(path: str) -> dict[str, str]:
    return {"path": path}
