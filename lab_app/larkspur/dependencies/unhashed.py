"""INSECURE: pins what is wanted, but neither what that brings along nor what is in the wheels."""

import os
import re
from pathlib import Path

from packaging.utils import parse_wheel_filename


def lock() -> str:
    """The newest version of everything in REQUIREMENTS."""
    wheels = [parse_wheel_filename(path.name) for path in Path(os.environ["WHEEL_DIR"]).glob("*.whl")]
    wanted = re.findall(r"(?m)^[\w.-]+", os.environ["REQUIREMENTS"])
    return "\n".join(f"{name}=={max(version for of, version, *_ in wheels if of == name)}" for name in wanted)
