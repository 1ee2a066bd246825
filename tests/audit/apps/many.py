"""As many routes as ROUTES says, each with a parameter."""

import os
from collections.abc import Callable

from fastapi import FastAPI

app = FastAPI()


def route(number: int) -> Callable[[int, str], dict[str, object]]:
    def read(id: int, word: str = "") -> dict[str, object]:
        return {"route": number, "id": id % 7}

    return read


for number in range(int(os.environ.get("ROUTES", "2000"))):
    app.get(f"/r{number}/{{id}}", name=f"read{number}")(route(number))
