"""What a notebook imports: `from lab_app.jupyter import check, hint, serve, progress`.

Inside a kernel the import itself prepares what every exercise needs; elsewhere it does nothing.
"""

from IPython.core.getipython import get_ipython

from lab_app.jupyter.check import check
from lab_app.jupyter.hint import hint
from lab_app.jupyter.kernel import ready
from lab_app.jupyter.progress import progress
from lab_app.jupyter.serve import serve

__all__ = ["check", "hint", "progress", "serve"]

if get_ipython() is not None:
    ready()
