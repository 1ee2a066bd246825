"""The checklist that all Apply beats add up to."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab_app.workbook.checklist import checklist, items, title_of
from lab_app.workbook.source import ROOT, sections


@pytest.mark.parametrize("section", sections())
def test_every_section_has_lines_to_tick(section: str) -> None:
    lines = list(items(section))
    assert len(lines) >= 4
    assert any("ASVS" in line for line in lines)
    assert f"## {title_of(section)}" in checklist()
    assert all(line in checklist() for line in lines)


def test_a_checklist_that_is_there_already_is_not_overwritten(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab_app.cli", "checklist", str(tmp_path / "mine.md")]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    (tmp_path / "mine.md").write_text("- [x] done")
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 1
    assert len(second.stderr.strip().splitlines()) == 1
    assert (tmp_path / "mine.md").read_text() == "- [x] done"
