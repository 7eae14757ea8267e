"""A pool's metadata brought to this machine: from the Hugging Face hub, or from any folder that fsspec opens."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from datacomp.problems import BadInput, PlatformFault

HUB = "mlfoundations/datacomp_{scale}"
"""Where DataComp publishes the metadata of a scale, as its `download_upstream.py` has it."""
PIECE = 1 << 20
Report = Callable[[str, float, float], None]
"""Told what is copied, files done and files in all."""


def fetch_metadata(source: str | None, scale: str, directory: Path, *, features: bool, report: Report) -> int:
    """Copy the parquet files of `source` (default: the scale's on the hub) flat into a directory; the `.npz` files too
    where `features` are wanted. Files that are there in full are kept. Returns how many parquet files there are.

    `BadInput` when the source holds none, or two of one name; `PlatformFault` when it cannot be read.
    """
    import fsspec

    directory.mkdir(parents=True, exist_ok=True)
    where = source or f"hf://datasets/{HUB.format(scale=scale)}"
    try:
        system, root = fsspec.core.url_to_fs(where)
        found = {str(name): int(about["size"]) for name, about in system.find(root, detail=True).items()}
    except (OSError, ValueError, ImportError) as error:
        hint = "give --metadata a folder, or a URL that fsspec opens: s3://, gs://, hf://datasets/..."
        raise PlatformFault.of("metadata-unreachable", f"{type(error).__name__}: {error}", where, hint) from error
    wanted = _wanted(found, features, where)
    for number, (name, path) in enumerate(wanted.items()):
        report(name, number, len(wanted))
        target = directory / name
        if target.is_file() and target.stat().st_size == found[path]:
            continue
        temporary = target.with_name(f".{name}.part")
        try:
            with system.open(path, "rb") as source_file, temporary.open("wb") as file:
                shutil.copyfileobj(source_file, file, PIECE)
        except OSError as error:
            hint = "run the same command again: what is here in full stays"
            raise PlatformFault.of("metadata-broken-off", f"{type(error).__name__}: {error}", path, hint) from error
        temporary.replace(target)
    report("metadata", len(wanted), len(wanted))
    return sum(name.endswith(".parquet") for name in wanted)


def _wanted(found: dict[str, int], features: bool, where: str) -> dict[str, str]:
    """Paths by the names that they get here. The largest scale has folders, whose files have different names."""
    endings = (".parquet", ".npz") if features else (".parquet",)
    wanted: dict[str, str] = {}
    for path in sorted(found):
        name = path.rpartition("/")[2]
        if not name.endswith(endings) or name.startswith("."):
            continue
        if name in wanted:
            raise BadInput.of("metadata-twice", f"two files are called {name}", path, "give the folder of one pool")
        wanted[name] = path
    if not any(name.endswith(".parquet") for name in wanted):
        raise BadInput.of("metadata-missing", "there are no parquet files", where, "give the folder with the metadata")
    return wanted
