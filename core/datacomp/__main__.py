"""`python -m datacomp` is the command line."""

from datacomp.cli import main

main()
