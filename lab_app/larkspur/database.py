"""The library's rows, from the SQLite file that DATABASE_URL names."""

import os
from functools import cache
from typing import Any

from sqlalchemy import Engine, create_engine, text


@cache
def _engine(url: str) -> Engine:
    return create_engine(url)


def rows(statement: str, **values: Any) -> list[dict[str, Any]]:
    """The rows of a query as dictionaries."""
    with _engine(os.environ["DATABASE_URL"]).connect() as connection:
        return [dict(row) for row in connection.execute(text(statement), values).mappings()]


def change(statement: str, **values: Any) -> int:
    """Run a statement that writes; the id of the row that it inserted."""
    with _engine(os.environ["DATABASE_URL"]).begin() as connection:
        return connection.execute(text(statement), values).lastrowid or 0
