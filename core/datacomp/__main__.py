"""`python -m datacomp` is the command line."""

import os

from datacomp.cli import main
from datacomp.lifeline import PARENT, die_with_parent

if PARENT in os.environ:
    die_with_parent(parent=int(os.environ.pop(PARENT)))
main()
