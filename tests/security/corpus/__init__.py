"""The hostile corpus: twelve classes of filters, a file each. `CASES` gives them by class."""

from importlib import import_module

from corpus.case import Case

CLASSES = (
    "network",
    "files",
    "processes",
    "forks",
    "memory",
    "disk",
    "duration",
    "descriptors",
    "links",
    "flood",
    "parser",
    "escape",
)
CASES: dict[str, tuple[Case, ...]] = {name: import_module(f"corpus.{name}").CASES for name in CLASSES}
