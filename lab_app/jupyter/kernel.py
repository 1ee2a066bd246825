"""What one kernel keeps: the environment of the exercise cells, a checker beside it, and the last verdicts."""

import atexit
import os
import secrets
import shutil
import tempfile
import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from authlib.deprecate import AuthlibDeprecationWarning
from IPython.core.getipython import get_ipython

from lab_app.harness.checker import Checker
from lab_app.harness.draw import Draw
from lab_app.harness.library import Library, build
from lab_app.harness.verdict import Verdict
from lab_app.harness.world import environment
from lab_app.runner.services.github import GitHub, User
from lab_app.runner.services.github import environment as github_environment

NAMES = ("DATABASE_URL", "JWT_SECRET", "JWT_ISSUER", "JWT_AUDIENCE", "LOG_FILE", "PUBLIC_BASE_URL")
PEOPLE = ("ada", "mallory", "grace", "dora")  # the prose knows them: a victim, you, the staff, a disabled member
COST = 8  # dear enough for a clock to see, cheap enough for an import


github = GitHub(client_id="larkspur-notebook", client_secret=secrets.token_hex(20))


@dataclass
class Kernel:
    """`library`: who is seeded in `DATABASE_URL`. `verdicts`: the last one of each exercise."""

    library: Library
    checker: Checker = field(default_factory=Checker)
    verdicts: dict[str, Verdict] = field(default_factory=dict)


@cache
def ready() -> Kernel:
    """Set the variables that exist for every exercise, and start the checker so that the first check does not wait."""
    draw = Draw(secrets.randbits(64))
    folder = Path(tempfile.mkdtemp(prefix="larkspur-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    kernel = Kernel(build(draw, PEOPLE, COST))
    (folder / "library.db").write_bytes(kernel.library.database)
    values = environment(draw, folder.as_posix())
    # Set even where the learner has a DATABASE_URL already: insecure code must never meet a real database.
    os.environ.update({name: values[name] for name in NAMES})
    github.start().sign_in_as(User(id=1, login="you-at-github"))
    os.environ.update(github_environment(github, values["PUBLIC_BASE_URL"], draw.secret()))
    # Its warning about httpx is for its own authors; added after its import, which lets all of its warnings through.
    warnings.filterwarnings("ignore", category=AuthlibDeprecationWarning)
    kernel.checker.warm()
    atexit.register(kernel.checker.close)
    return kernel


def last_run(number: str) -> tuple[str, int] | None:
    """The source of an exercise's cell as it was last run, and the n of its In [n]; None if it has not been run."""
    shell = get_ipython()
    cells = shell.history_manager.input_hist_raw if shell and shell.history_manager else []
    for n in range(len(cells) - 1, 0, -1):
        if cells[n].lstrip().startswith(f"# Exercise {number} "):
            return cells[n], n
    return None
