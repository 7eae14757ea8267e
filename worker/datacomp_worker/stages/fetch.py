"""The stage `fetch`: the images of a dataset, and the pool that they make.

Only img2dataset's process speaks to foreign hosts, by the limits of this worker's settings. Rows that become no sample
are counted by cause; too many of them reject the submission.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from datacomp.byod import Row, rows_of, shape_of
from datacomp.messages import DATASET_FILE, REPORT_FILE, SUBSET_FILE, FetchResult, Progress
from datacomp.pool import Pool
from datacomp.problems import BadInput, PlatformFault
from datacomp.tars.entries import Window
from datacomp.tars.samples import samples
from datacomp.uids import from_hex, sort, write_subset
from datacomp_worker.byod.store import DatasetWriter, Picture, pack, picture_size, uid_of, unpacked
from datacomp_worker.download import Limits, Options, Space, run_download
from datacomp_worker.download.outcomes import SUCCESS, cause, tables
from datacomp_worker.settings import FetchSettings
from datacomp_worker.stages.base import StageContext, StageOutput
from datacomp_worker.stages.uploads import named_upload

MOST_HOSTS = 20
MOST_WORDS = 50


@dataclass
class Tally:
    """What becomes of the rows."""

    causes: Counter[str] = field(default_factory=Counter)
    hosts: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    urls: list[str] = field(default_factory=list)
    uids: list[str] = field(default_factory=list)
    """Of the samples, each as often as it is trained on in an epoch."""
    from_pool: int = 0

    def take(self, writer: DatasetWriter, picture: Picture, *, pooled: bool = False) -> None:
        """Add a sample, or count why it is none."""
        try:
            new = writer.add(picture)
        except (OSError, ValueError, SyntaxError):
            self.causes["damaged"] += 1
            return
        if not new:
            self.causes["duplicate"] += 1
            return
        self.uids += [picture.uid] * repeats_of(picture.uid, picture.weight)
        self.licenses[picture.license] += 1
        self.from_pool += pooled
        if not pooled:
            self.hosts[urlsplit(picture.url).hostname or ""] += 1
            self.urls.append(picture.url)


def run(context: StageContext) -> StageOutput:
    """Fetch and leave `dataset.tar` and `subset.npy`. `BadInput` when too few rows become samples."""
    start = time.monotonic()
    setting, upload = context.job.board.byod, named_upload(context)
    shape = shape_of(upload, setting.rows)
    tally = Tally(causes=Counter(shape.causes))
    writer = DatasetWriter(context.workspace / "dataset")
    rows = _download(context, upload, tally)
    for picture in _fetched(context.workspace / "images", rows):
        context.report.check()
        tally.take(writer, picture)
    _from_pool(context, upload, writer, tally)
    writer.close()
    count = len(writer.seen)
    report = {"rows": shape.rows, "samples": count, "causes": dict(tally.causes.most_common())}
    path = context.workspace / REPORT_FILE
    path.write_text(json.dumps(report, indent=1))
    context.report.log(f"{count:,} samples of {shape.rows:,} rows; {_named(tally.causes) or 'nothing was lost'}\n")
    if not count or count < setting.success * shape.rows:
        message = f"{count:,} of {shape.rows:,} rows became samples; this board asks for {setting.success:.0%}"
        hint = f"rows by cause: {_named(tally.causes)}"
        raise BadInput.of("dataset-too-few", message, upload.name, hint)
    dataset = context.workspace / DATASET_FILE
    pack(writer.directory, dataset)
    subset = context.workspace / SUBSET_FILE
    write_subset(subset, sort(from_hex(tally.uids)))
    result = FetchResult(
        rows=shape.rows,
        samples=count,
        from_pool=tally.from_pool,
        causes=dict(tally.causes.most_common()),
        hosts=dict(tally.hosts.most_common(MOST_HOSTS)),
        licenses=dict(tally.licenses.most_common(MOST_WORDS)),
        urls_digest=sha256("\n".join(sorted(tally.urls)).encode()).hexdigest(),
        dataset_digest=unpacked(dataset, context.scratch).manifest.digest,
        bytes=writer.bytes,
        seconds=time.monotonic() - start,
    )
    return StageOutput(result, {DATASET_FILE: dataset, SUBSET_FILE: subset, REPORT_FILE: path})


def _named(causes: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in causes.most_common())


def repeats_of(uid: str, weight: float) -> int:
    """How often a sample stands in the subset: its weight, rounded up or down by the uid's own luck, at least once."""
    luck = int(uid[:8], 16) / 2**32
    return max(int(weight + luck), 1)


def _download(context: StageContext, upload: Path, tally: Tally) -> dict[int, Row]:
    """Have img2dataset fetch what has an address; the rows by number. Each address is fetched once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: dict[int, Row] = {}
    seen: set[tuple[str, str]] = set()
    for row in rows_of(upload):
        if row.cause is None and row.url:
            if (row.url, row.caption) in seen:
                tally.causes["duplicate"] += 1
                continue
            seen.add((row.url, row.caption))
            rows[row.number] = row
    if not rows:
        return rows
    urls = context.workspace / "urls"
    urls.mkdir()
    columns = {
        "uid": [str(number) for number in rows],
        "url": [row.url for row in rows.values()],
        "text": [row.caption for row in rows.values()],
    }
    pq.write_table(pa.table(columns), urls / "0.parquet")
    settings = FetchSettings()
    limits = Limits(
        seconds=settings.image_seconds,
        connect_seconds=min(settings.image_seconds, Limits.connect_seconds),
        bytes=settings.image_bytes,
        pixels=settings.image_pixels,
        retries=settings.retries,
        host_connections=settings.host_connections,
        host_interval=settings.host_interval,
        allowed=settings.allow,
    )
    options = Options(image_size=settings.image_size, processes=settings.processes, threads=settings.threads)

    def report(done: int) -> None:
        context.report.check()
        context.report.progress(Progress(done=done, total=len(rows), unit="rows", note="images"))

    folder = context.workspace / "images"
    space = Space(settings.dataset_bytes, settings.spare_bytes)
    run_download(
        urls, folder, options, limits, space=space, workdir=context.workspace / "download", report=report,
        boxing=settings.box, memory=settings.memory,
    )  # fmt: skip
    for table in tables(folder, ["status", "error_message"]):
        found = map(cause, table["status"], table["error_message"])
        tally.causes.update(one for one in found if one != SUCCESS)
    return rows


def _fetched(folder: Path, rows: dict[int, Row]) -> Iterator[Picture]:
    """What came, shard by shard, in the order of the rows."""
    for path in sorted(folder.glob("*.tar")) if folder.is_dir() else ():
        with path.open("rb") as file:
            tar = Window(file.fileno())
            found: list[tuple[int, dict[str, Any], tuple[int, int]]] = []
            for sample in samples(tar):
                about, place = json.loads(bytes(sample.json or b"{}")), sample.image()
                if place is not None and "uid" in about:
                    found.append((int(about["uid"]), about, place))
            for number, about, place in sorted(found, key=lambda one: one[0]):
                row = rows[number]
                yield Picture(
                    uid=uid_of(about["sha256"], row.caption),
                    image=tar.bytes(*place),
                    caption=row.caption,
                    url=row.url,
                    width=int(about["original_width"]),
                    height=int(about["original_height"]),
                    sha256=about["sha256"],
                    weight=row.weight,
                    license=row.license,
                )


def _from_pool(context: StageContext, upload: Path, writer: DatasetWriter, tally: Tally) -> None:
    """Copy the samples of the board's pool that the file names."""
    named = {row.uid: row for row in rows_of(upload) if row.cause is None and row.uid}
    if not named:
        return
    try:
        pool = Pool.open(context.pool_dir)
    except BadInput as error:
        raise PlatformFault(*error.problems) from error
    uids = list(named)
    for uid, place in zip(uids, pool.rows_of(from_hex(uids)).tolist(), strict=True):
        if place < 0:
            tally.causes["uid-unknown"] += 1
        elif not pool.available[place]:
            tally.causes["uid-unavailable"] += 1
        else:
            tally.take(writer, _pooled(pool, place, named[uid]), pooled=True)


def _pooled(pool: Pool, place: int, row: Row) -> Picture:
    """A sample of the pool, with the file's caption in place of its own if it has one."""
    columns = ("tar", "image_offset", "image_size", "text_offset", "text_size", "original_width", "original_height")
    tar, offset, size, text_at, text_size, width, height = (int(pool.column(name)[place]) for name in columns)
    with pool.tar_file(tar).open("rb") as file:
        window = Window(file.fileno())
        image, text = window.bytes(offset, size), window.bytes(text_at, text_size)
    extension = "png" if image.startswith(b"\x89PNG") else "webp" if image[8:12] == b"WEBP" else "jpg"
    caption = row.caption or text.decode("utf-8", "replace")
    if width <= 0:
        width, height = picture_size(image)
    digest = sha256(image).hexdigest()
    uid = row.uid if not row.caption else uid_of(digest, caption)
    return Picture(uid, image, caption, "", width, height, digest, row.weight, row.license, extension)
