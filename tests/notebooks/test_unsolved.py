"""Every notebook as a learner gets it: it runs from top to bottom without an error."""

import subprocess
import sys

import pytest

from lab_app.workbook import notebook
from lab_app.workbook.source import ROOT, sections

NBVAL = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-cell-timeout=120"]


@pytest.mark.parametrize("section", sections())
def test_it_runs_unsolved_from_top_to_bottom(section: str) -> None:
    ran = subprocess.run([*NBVAL, str(notebook.path_of(section))], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-3000:]
