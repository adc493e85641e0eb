"""`python -m lattice`: the command line, as `lattice` runs it."""

from __future__ import annotations

import sys

from lattice.cli import main

if __name__ == "__main__":
    sys.exit(main())
