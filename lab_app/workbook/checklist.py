"""The audit checklist that the Apply beats of all notebooks add up to, as Markdown for one's own app."""

import re
from collections.abc import Iterator

from lab_app.workbook.source import cells, sections

HEAD = """# Security checklist

For an app of your own: tick what you have seen to hold, and put the rest into your issue tracker.
"""
ITEM = re.compile(r"^- \[ \] .*(?:\n {2,}.*)*", re.MULTILINE)
TITLE = re.compile(r"^# (\d+ · .+)$", re.MULTILINE)


def checklist() -> str:
    """Every line to tick, under the title of its section."""
    return "\n".join(
        [HEAD, *(f"## {title_of(section)}\n\n" + "\n".join(items(section)) + "\n" for section in sections())]
    )


def title_of(section: str) -> str:
    """A notebook's title, such as `3 · CORS`."""
    found = TITLE.search("\n".join(cell.source for cell in cells(section) if cell.cell_type == "markdown"))
    return found[1] if found else section


def items(section: str) -> Iterator[str]:
    """The lines to tick of a section's Apply beat."""
    applying = False
    for cell in cells(section):
        applying = applying or (cell.cell_type == "markdown" and cell.source.startswith("## Apply"))
        if applying and cell.cell_type == "markdown":
            yield from ITEM.findall(cell.source)
