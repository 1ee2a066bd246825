"""Small, valid wheels, made in memory: a name, a version, what it requires, and one module that runs on import."""

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable

LONG_AGO = (2026, 1, 1, 0, 0, 0)  # the same bytes, and so the same hash, for the same wheel


def wheel(
    name: str,
    version: str,
    requires: Iterable[str] = (),
    extras: Iterable[str] = (),
    tag: str = "py3-none-any",
    code: str = "",
) -> tuple[str, bytes]:
    """The file name and the bytes of a wheel. `requires`: requirements as METADATA spells them."""
    module = re.sub(r"[-_.]+", "_", name).lower()
    info = f"{module}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {needed}" for needed in requires]
    files = {
        f"{module}.py": code or f'__version__ = "{version}"\n',
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: larkspur\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    files[f"{info}/RECORD"] = (
        "".join(f"{path},{_digest(text)},\n" for path, text in files.items()) + f"{info}/RECORD,,\n"
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, LONG_AGO), text)
    return f"{module}-{version}-{tag}.whl", packed.getvalue()


def _digest(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
