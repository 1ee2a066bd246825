"""`python3 -m lab_app COMMAND`: makes `.venv` when it must, then hands over to the command line in it.

This file and setup.py run on the bare system Python, an old one too: nothing but the standard library, no new syntax.
"""

import sys

from lab_app import setup

if __name__ == "__main__":
    setup.ensure()
    from lab_app.cli import main

    main(sys.argv[1:])
