"""`python -m datacomp` is the command line."""

import os

from datacomp.cli import main

if "DATACOMP_PARENT" in os.environ:
    from datacomp.lifeline import PARENT, die_with_parent

    die_with_parent(parent=int(os.environ.pop(PARENT)))
main()
