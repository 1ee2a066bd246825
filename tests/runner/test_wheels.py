"""The wheels that we make are wheels to pip."""

import json
import subprocess
import sys
from pathlib import Path

from lab_app.runner.services.wheels import wheel


def test_pip_installs_them_and_they_run(tmp_path: Path) -> None:
    made = [
        wheel(
            "Foo.Bar",
            "1.0",
            ["baz>=2", 'qux ; extra == "x"'],
            extras=["x"],
            code="import baz\nprint(baz.__version__)\n",
        ),
        wheel("baz", "2.1"),
        wheel("baz", "3.0", tag="py2-none-any"),
        wheel("qux", "1"),
    ]
    for file, content in made:
        (tmp_path / file).write_bytes(content)
    pip = [sys.executable, "-m", "pip", "--isolated", "-q", "install", "--no-index", "--no-cache-dir"]
    options = ["--find-links", str(tmp_path), "--target", str(tmp_path / "app"), "--report", str(tmp_path / "report")]
    subprocess.run([*pip, *options, "foo-bar"], check=True, capture_output=True)
    chosen = {one["metadata"]["name"] for one in json.loads((tmp_path / "report").read_text())["install"]}
    assert chosen == {"Foo.Bar", "baz"}
    ran = subprocess.run([sys.executable, "-c", "import foo_bar"], cwd=tmp_path / "app", capture_output=True, text=True)
    assert ran.stdout == "2.1\n"


def test_the_same_wheel_is_the_same_bytes() -> None:
    assert wheel("foo", "1") == wheel("foo", "1") != wheel("foo", "1", code="evil")
