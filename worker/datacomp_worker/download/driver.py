"""Starts the process that downloads, watches over it, and reads what it did."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from datacomp.lifeline import PARENT
from datacomp.problems import PlatformFault
from datacomp_worker.download.archives import FOLDER, Archives
from datacomp_worker.download.box import MEMORY, Boxing, boxed, guarding, use_box
from datacomp_worker.download.limits import Limits

CHILD = "datacomp_worker.download.child"
LOG_FILE = "download.log"
REQUEST_FILE = "request.json"
POLL_SECONDS = 0.1
LOOK_SECONDS = 2.0
"""Between two looks at the disk."""
TAIL = 4000
KEPT = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "JAVA_HOME", "SPARK_HOME", "SPARK_CONF_DIR", "PYSPARK_PYTHON", "RAY_ADDRESS",
)  # fmt: skip
"""All that the process has of this one's environment."""

Distributor = Literal["multiprocessing", "ray", "pyspark"]
ResizeMode = Literal["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]
Report = Callable[[int], None]
"""Told how many rows are done; may raise to end the download."""


@dataclass(frozen=True)
class Options:
    """img2dataset's options, with the defaults of DataComp's `download_upstream.py`."""

    image_size: int = 512
    resize_mode: ResizeMode = "keep_ratio_largest"
    resize_only_if_bigger: bool = True
    encode_format: Literal["jpg", "png", "webp"] = "jpg"
    processes: int = 16
    threads: int = 128
    rows_per_shard: int = 10_000
    shard_digits: int = 8
    distributor: Distributor = "multiprocessing"
    caption: str = "text"
    boxes: str | None = None
    """Column of face boxes that are blurred."""
    check_hash: str | None = None
    """Column of SHA-256 digests that images must have."""
    keep: tuple[str, ...] = ("uid",)
    """Columns that go with the samples."""


@dataclass(frozen=True)
class Space:
    """How much a download may fill."""

    most: int | None = None
    """Bytes of its folder in all."""
    spare: int = 1 << 30
    """Bytes of the disk that stay free."""

    def check(self, folder: Path) -> None:
        """`PlatformFault` when a limit is reached; what is complete stays, and the same command goes on later."""
        free = shutil.disk_usage(folder).free
        hint = "make room, or raise the limit; the download goes on where it stopped"
        if free < self.spare:
            raise PlatformFault.of(
                "download-disk", f"{free:,} bytes are free, {self.spare:,} must stay", str(folder), hint
            )
        if self.most is not None and (used := _size(folder)) > self.most:
            raise PlatformFault.of("download-space", f"{used:,} bytes, {self.most:,} allowed", str(folder), hint)


def _size(folder: Path) -> int:
    found = (entry for part in (folder, folder / FOLDER) if part.is_dir() for entry in os.scandir(part))
    return sum(_bytes(entry) for entry in found)


def _bytes(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except FileNotFoundError:  # it is gone by now
        return 0


def require_img2dataset() -> None:
    """`PlatformFault` where the extra is not installed."""
    if find_spec("img2dataset") is None:
        hint = "pip install 'datacomp[worker,download]' (Python 3.11 or 3.12)"
        raise PlatformFault.of("img2dataset-missing", "img2dataset is not installed here", hint=hint)


def run_download(
    urls: Path | None,
    folder: Path,
    options: Options,
    limits: Limits,
    *,
    space: Space,
    workdir: Path,
    report: Report,
    boxing: Boxing = "auto",
    memory: int = MEMORY,
    archives: Archives | None = None,
) -> None:
    """Download the images of parquet files `urls` (a file or a folder of them) into tars in `folder`, and the tars
    that `archives` names.

    Shards that are complete there are kept, so that the same call goes on where one was interrupted. `PlatformFault`
    when the process fails, the disk does not do, or the box is required and cannot be had. Ray and Spark have
    processes of their own, elsewhere: they go without the box. `memory`: bytes that one process in it may have.
    """
    require_img2dataset()
    folder.mkdir(parents=True, exist_ok=True)
    workdir.mkdir(parents=True, exist_ok=True)
    space.check(folder)
    urls, folder, workdir = urls and urls.absolute(), folder.absolute(), workdir.absolute()
    request = {
        "limits": limits.to_json(),
        "options": _arguments(urls, folder, options),
        "archives": asdict(archives) if archives else None,
    }
    (workdir / REQUEST_FILE).write_text(json.dumps(request, indent=1))
    command, environment = [sys.executable, "-m", CHILD, str(workdir / REQUEST_FILE)], _environment(limits)
    with ExitStack() as stack:
        log = stack.enter_context((workdir / LOG_FILE).open("wb"))
        inherited: tuple[int, ...] = ()
        if options.distributor == "multiprocessing" and use_box(boxing):
            guard = stack.enter_context(guarding()).fileno()
            read, inherited = [urls, workdir] if urls else [workdir], (guard,)
            command = boxed(
                command, environment, guard, read=read, write=[folder], memory=memory, file_bytes=space.most
            )
        else:
            environment[PARENT] = str(os.getpid())
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=inherited,
        )
    try:
        _watch(process, folder, space, report)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder / "_tmp", ignore_errors=True)
    if process.returncode:
        text = (workdir / LOG_FILE).read_text(errors="replace")[-TAIL:]
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it left no log")
        fault = PlatformFault.of("download-failed", f"the download ended with status {process.returncode}: {last}")
        fault.log_tail = text
        raise fault


def _environment(limits: Limits) -> dict[str, str]:
    """All that the process is given: nothing of the worker's secrets."""
    # Spark would otherwise start whatever `python3` is, which need not have this package.
    return (
        {"PYSPARK_PYTHON": sys.executable}
        | {name: os.environ[name] for name in KEPT if name in os.environ}
        | {
            "NO_ALBUMENTATIONS_UPDATE": "1",  # which would otherwise ask a host of its own for news
            "OPENCV_IO_MAX_IMAGE_PIXELS": str(limits.pixels),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
        }
    )


def _arguments(urls: Path | None, folder: Path, options: Options) -> dict[str, object]:
    hashed = ["sha256", "sha256"] if options.check_hash else None
    return {
        "url_list": str(urls) if urls else None,
        "output_folder": str(folder),
        "image_size": options.image_size,
        "resize_mode": options.resize_mode,
        "resize_only_if_bigger": options.resize_only_if_bigger,
        "encode_format": options.encode_format,
        "output_format": "webdataset",
        "input_format": "parquet",
        "url_col": "url",
        "caption_col": options.caption,
        "bbox_col": options.boxes,
        "save_additional_columns": list(options.keep),
        "processes_count": options.processes,
        "thread_count": options.threads,
        "number_sample_per_shard": options.rows_per_shard,
        "oom_shard_count": options.shard_digits,
        "compute_hash": "sha256",
        "verify_hash": hashed,
        "distributor": options.distributor,
        "retries": 0,  # the guarded downloader tries again itself, where that may help
        "extract_exif": False,
        "max_shard_retry": 1,
    }


def _watch(process: subprocess.Popen[bytes], folder: Path, space: Space, report: Report) -> None:
    looked = 0.0
    while process.poll() is None:
        report(rows_done(folder))
        if time.monotonic() - looked > LOOK_SECONDS:
            space.check(folder)
            looked = time.monotonic()
        time.sleep(POLL_SECONDS)
    report(rows_done(folder))


def rows_done(folder: Path) -> int:
    """Rows of the shards that are complete."""
    return sum(count for part in (folder, folder / FOLDER) for count, _ in _statistics(part))


def _statistics(folder: Path) -> Iterator[tuple[int, int]]:
    for path in sorted(folder.glob("*_stats.json")):
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):  # being written just now
            continue
        yield int(found["count"]), int(found["successes"])
