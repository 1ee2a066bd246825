"""INSECURE: compares versions as text, where 0.0.6 comes after 0.0.18."""

from typing import Any


def is_affected(record: dict[str, Any], version: str) -> bool:
    """Whether an advisory is about this version."""
    for entry in record["affected"]:
        for one in entry["ranges"]:
            bounds = {kind: at for event in one["events"] for kind, at in event.items()}
            if bounds["introduced"] <= version < bounds.get("fixed", "999"):
                return True
    return False
