"""The set-up tells in one sentence what is wrong."""

import sys
from pathlib import Path

import pytest

from lab_app import setup


def test_an_old_python_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer"):
        setup.ensure()


@pytest.mark.parametrize(
    ("printed", "says"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("The virtual environment was not created successfully because ensurepip is not available.", "python3-venv"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "not the one that requirements.txt pins"),
        ("Failed to establish a new connection: [Errno -2] Name or service not known", "could not be reached"),
        ("PermissionError: [Errno 13] Permission denied", "cannot be written"),
    ],
)
def test_a_failure_is_one_sentence(printed: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=says) as left:
        setup._do("Installing", [sys.executable, "-c", f"import sys; print({printed!r}); sys.exit(1)"])
    assert str(left.value).strip().count("\n") == 0


def test_a_failure_nobody_foresaw_shows_its_last_words() -> None:
    with pytest.raises(SystemExit, match="meteor"):
        setup._do("Installing", [sys.executable, "-c", "import sys; print('meteor'); sys.exit(1)"])


def test_half_a_set_up_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "STAMP", tmp_path / "stamp")
    assert not setup._fresh()
    (tmp_path / "stamp").write_text("of another requirements.txt")
    assert not setup._fresh()
    (tmp_path / "stamp").write_text(setup._fingerprint())
    assert setup._fresh()


def test_a_venv_that_lost_its_python_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "PYTHON", tmp_path / "bin" / "python")
    assert not setup._runs()
