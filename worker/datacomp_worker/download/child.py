"""The process that downloads: `python -m datacomp_worker.download.child REQUEST.json`.

It holds no secrets, dies with whoever started it, and is the only one that connects to foreign hosts.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

# img2dataset imports these, and its processes import this module anew; it uses neither here. They take seconds.
sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
sys.modules.setdefault("wandb", ModuleType("wandb"))
MOST_FILES = 8192


def main(request_file: Path) -> None:
    """Carry out a request."""
    from datacomp.lifeline import PARENT, die_with_parent

    if PARENT in os.environ:  # in the box its maker sees to both
        die_with_parent(parent=int(os.environ[PARENT]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.loads(request_file.read_text())
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if request["options"]["url_list"]:
        download(request)
    if request["archives"]:
        download_archives(request)


def download_archives(request: dict[str, Any]) -> None:
    """Fetch webdataset tars."""
    from datacomp_worker.download.archives import FOLDER, Archives, fetch_archives
    from datacomp_worker.download.engine import GuardedResizer, forbidden_by
    from datacomp_worker.download.limits import Limits

    options = request["options"]
    limits = GuardedResizer.limits = Limits.of(request["limits"])
    resize = GuardedResizer(options["image_size"], options["resize_mode"], options["resize_only_if_bigger"])
    folder = Path(options["output_folder"]) / FOLDER
    fetch_archives(Archives(**request["archives"]), limits, folder, resize, forbidden_by(limits))


def download(request: dict[str, Any]) -> None:
    """Run img2dataset with the guards in it."""
    plain: Any = import_module("img2dataset.main")
    from datacomp_worker.download.engine import GuardedDownloader, GuardedResizer
    from datacomp_worker.download.limits import Limits

    GuardedDownloader.limits = GuardedResizer.limits = Limits.of(request["limits"])
    plain.Downloader, plain.Resizer = GuardedDownloader, GuardedResizer
    plain.LoggerProcess = NoLogger  # who started us reads the statistics of each shard itself
    options = request["options"]
    if options["processes_count"] == 1 and options["distributor"] == "multiprocessing":
        plain.multiprocessing_distributor = one_process
    plain.download(**options)


def one_process(_: int, downloader: Any, reader: Any, __: int, retries: int) -> None:
    """A distributor for few images: further interpreters would take longer than they save."""
    failed = [row for row in reader if not downloader(row)[0]]
    for _try in range(retries):
        failed = [row for row in failed if not downloader(row)[0]]


class NoLogger:
    """In place of img2dataset's process that prints statistics."""

    done_shards: frozenset[int] = frozenset()

    def __init__(self, *_: Any) -> None:
        pass

    def start(self) -> None:
        """Do nothing."""

    def join(self) -> None:
        """Do nothing."""

    def terminate(self) -> None:
        """Do nothing."""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
