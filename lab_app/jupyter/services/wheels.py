"""A shelf of Larkspur's own wheels, for notebook 9: `folder` holds them, `wanted` is what its app asks for."""

import atexit
import shutil
import tempfile
from pathlib import Path

from lab_app.runner.services.wheels import wheel

SHELF = (
    wheel("larkspur-shelves", "1.2", ["larkspur-labels"]),
    wheel("larkspur-shelves", "1.4", ["larkspur-labels>=2"]),
    wheel("larkspur-labels", "1.9"),
    wheel("larkspur-labels", "2.1"),
    wheel("larkspur-fines", "1.0", ["larkspur-labels"]),
)
wanted = "larkspur-shelves>=1.2\n"
folder = tempfile.mkdtemp(prefix="larkspur-wheels-")
atexit.register(shutil.rmtree, folder, ignore_errors=True)
for _file, _content in SHELF:
    (Path(folder) / _file).write_bytes(_content)
