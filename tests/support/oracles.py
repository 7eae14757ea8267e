"""Published tables to check against: beside the repository, or where `DATACOMP_ORACLES` says. Never copied in, because
not all of them may be redistributed."""

import os
from pathlib import Path

import pytest

OUTSIDE = Path(__file__).parents[2] / ".." / "shared" / "oracles"


def oracle(*parts: str) -> Path:
    """A published table; the test is skipped, saying why, where the folder is absent."""
    folder = Path(os.environ.get("DATACOMP_ORACLES", OUTSIDE))
    path = folder.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"published table {'/'.join(parts)} is not at {folder}: set DATACOMP_ORACLES to check against it")
    return path
