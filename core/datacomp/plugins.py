"""What installed packages plug in, by entry points.

`importlib.metadata` reads every installed package's file, and importing it takes longer than filtering a pool. So our
own distribution's entry points are looked up first, in its file alone; others' cost what they cost.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

OWN = "datacomp"


def load(group: str, name: str) -> Any:
    """The object behind a name of a group; ours stand before those of other packages. None where there is none."""
    place = _own(group).get(name)
    if place is None:
        place = _all(group).get(name)
    if place is None:
        return None
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def is_known(group: str, name: str) -> bool:
    """Whether some package has this name in a group; nothing is loaded."""
    return name in _own(group) or name in _all(group)


def names(group: str) -> tuple[str, ...]:
    """All names of a group in order; nothing is loaded."""
    return tuple(sorted(_all(group)))


@cache
def _all(group: str) -> dict[str, str]:
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=group)} | _own(group)


@cache
def _own(group: str) -> dict[str, str]:
    """Our own, as an installer wrote them down; empty where we are not installed (then there are no others' either)."""
    text = _written()
    lines = text.partition(f"[{group}]\n")[2].partition("\n[")[0].splitlines()
    pairs = (line.partition("=") for line in lines)
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


@cache
def _written() -> str:
    for directory in sys.path:
        try:
            found = [name for name in os.listdir(directory or ".") if name.startswith(f"{OWN}-")]
        except OSError:
            continue  # an archive, or nothing
        for name in found:
            file = Path(directory, name, "entry_points.txt")
            if name.endswith(".dist-info") and file.is_file():
                return file.read_text()
    return ""
