"""Notebooks are run with progress of their own, and find lab_app from wherever they stand."""

from pathlib import Path

import pytest

from lab_app.workbook.source import ROOT


@pytest.fixture(autouse=True)
def _own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
