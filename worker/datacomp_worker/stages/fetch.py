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
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from datacomp.byod import Row, rows_of, shape_of
from datacomp.messages import DATASET_FILE, REPORT_FILE, SUBSET_FILE, FetchResult, Progress, SourceShare
from datacomp.pool import Pool
from datacomp.problems import BadInput, PlatformFault
from datacomp.tars.entries import Window
from datacomp.tars.samples import Sample, samples
from datacomp.uids import from_hex, sort, write_subset
from datacomp_worker.byod.detecting import BATCH, Detector, detector
from datacomp_worker.byod.store import DatasetWriter, Picture, pack, picture_size, uid_of, unpacked
from datacomp_worker.download import Archives, Limits, Options, Space, run_download
from datacomp_worker.download.archives import FOLDER as ARCHIVES
from datacomp_worker.download.archives import archive_rows
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
    sources: dict[str, SourceShare] = field(default_factory=dict)

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
        self._weigh(picture)
        self.licenses[picture.license] += 1
        self.from_pool += pooled
        if not pooled:
            self.hosts[urlsplit(picture.url).hostname or ""] += 1
            self.urls.append(picture.url)

    def _weigh(self, picture: Picture) -> None:
        """Once for its source, which has the weight; without sources as often as its own weight says."""
        if picture.source is None:
            self.uids += [picture.uid] * repeats_of(picture.uid, picture.weight)
            return
        self.uids.append(picture.uid)
        share = SourceShare(name=picture.source, weight=picture.weight, samples=0)
        self.sources.setdefault(picture.source, share).samples += 1


def run(context: StageContext) -> StageOutput:
    """Fetch and leave `dataset.tar` and `subset.npy`. `BadInput` when too few rows become samples."""
    start = time.monotonic()
    setting, upload = context.job.board.byod, named_upload(context)
    judge = detector(setting)
    shape = shape_of(upload, setting.rows, setting.unsafe)
    tally = Tally(causes=Counter(shape.causes))
    writer = DatasetWriter(context.workspace / "dataset")
    rows = _download(context, upload, tally)
    for picture in _safe(_fetched(context.workspace / "images", rows), judge, tally):
        context.report.check()
        tally.take(writer, picture)
    for picture in _safe(_from_pool(context, upload, tally), judge, tally):
        tally.take(writer, picture, pooled=True)
    writer.close()
    count = len(writer.seen)
    members = archive_rows(context.workspace / "images")
    total = shape.rows - len(members) + members.total()
    report = {"rows": total, "samples": count, "causes": dict(tally.causes.most_common())}
    path = context.workspace / REPORT_FILE
    path.write_text(json.dumps(report, indent=1))
    context.report.log(f"{count:,} samples of {total:,} rows; {_named(tally.causes) or 'nothing was lost'}\n")
    if not count or count < setting.success * total:
        message = f"{count:,} of {total:,} rows became samples; this board asks for {setting.success:.0%}"
        hint = f"rows by cause: {_named(tally.causes)}"
        raise BadInput.of("dataset-too-few", message, upload.name, hint)
    dataset = context.workspace / DATASET_FILE
    pack(writer.directory, dataset)
    subset = context.workspace / SUBSET_FILE
    write_subset(subset, sort(from_hex(tally.uids)))
    result = FetchResult(
        rows=total,
        samples=count,
        from_pool=tally.from_pool,
        causes=dict(tally.causes.most_common()),
        hosts=dict(tally.hosts.most_common(MOST_HOSTS)),
        licenses=dict(tally.licenses.most_common(MOST_WORDS)),
        urls_digest=sha256("\n".join(sorted(tally.urls)).encode()).hexdigest(),
        dataset_digest=unpacked(dataset, context.scratch).manifest.digest,
        bytes=writer.bytes,
        seconds=time.monotonic() - start,
        sources=[tally.sources[name] for name in sorted(tally.sources)],
        detector=judge.name if judge else None,
    )
    return StageOutput(result, {DATASET_FILE: dataset, SUBSET_FILE: subset, REPORT_FILE: path})


def _named(causes: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in causes.most_common())


def repeats_of(uid: str, weight: float) -> int:
    """How often a sample stands in the subset: its weight, rounded up or down by the uid's own luck, at least once."""
    luck = int(uid[:8], 16) / 2**32
    return max(int(weight + luck), 1)


def _safe(pictures: Iterator[Picture], judge: Detector | None, tally: Tally) -> Iterator[Picture]:
    """Those that the detector lets pass."""
    while judge and (part := list(islice(pictures, BATCH))):
        found = judge.unsafe([picture.image for picture in part])
        tally.causes["unsafe-detected"] += sum(found)
        yield from (picture for picture, unsafe in zip(part, found, strict=True) if not unsafe)
    yield from pictures


def _wanted(upload: Path, tally: Tally, unsafe: float) -> dict[int, Row]:
    """What has an address, by number. Each image with its caption is fetched once, and each tar."""
    rows: dict[int, Row] = {}
    seen: set[tuple[str, str]] = set()
    for row in rows_of(upload, unsafe):
        if row.cause is None and (row.url or row.tar):
            named = (row.tar or row.url, "" if row.tar else row.caption)
            if named in seen:
                tally.causes["duplicate"] += 1
                continue
            seen.add(named)
            rows[row.number] = row
    return rows


def _urls(rows: list[Row], folder: Path) -> Path | None:
    """The images' addresses as img2dataset takes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not rows:
        return None
    folder.mkdir()
    columns = {
        "uid": [str(row.number) for row in rows],
        "url": [row.url for row in rows],
        "text": [row.caption for row in rows],
    }
    pq.write_table(pa.table(columns), folder / "0.parquet")
    return folder


def _download(context: StageContext, upload: Path, tally: Tally) -> dict[int, Row]:
    """Have all that has an address fetched by a process of its own; the rows by number."""
    rows = _wanted(upload, tally, context.job.board.byod.unsafe)
    if not rows:
        return rows
    urls = _urls([row for row in rows.values() if row.url], context.workspace / "urls")
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

    tars = tuple((row.number, row.tar) for row in rows.values() if row.tar)
    archives = Archives(tars, settings.tar_seconds, settings.tar_bytes, context.job.board.byod.rows) if tars else None

    def report(done: int) -> None:
        context.report.check()
        context.report.progress(Progress(done=done, total=max(len(rows), done), unit="rows", note="images"))

    folder = context.workspace / "images"
    space = Space(settings.dataset_bytes, settings.spare_bytes)
    run_download(
        urls, folder, options, limits, space=space, workdir=context.workspace / "download", report=report,
        boxing=settings.box, memory=settings.memory, archives=archives,
    )  # fmt: skip
    for part in (folder, folder / ARCHIVES):
        for table in tables(part, ["status", "error_message"]):
            found = map(cause, table["status"], table["error_message"])
            tally.causes.update(one for one in found if one != SUCCESS)
    return rows


def _fetched(folder: Path, rows: dict[int, Row]) -> Iterator[Picture]:
    """What came, shard by shard, in the order of the rows."""
    for part in (folder, folder / ARCHIVES):
        for path in sorted(part.glob("*.tar")) if part.is_dir() else ():
            with path.open("rb") as file:
                yield from _of_shard(Window(file.fileno()), rows)


def _of_shard(tar: Window, rows: dict[int, Row]) -> Iterator[Picture]:
    found: list[tuple[int, dict[str, Any], Sample]] = []
    for sample in samples(tar):
        about = json.loads(bytes(sample.json or b"{}"))
        if sample.image() is not None and "uid" in about:
            found.append((int(about["uid"]), about, sample))
    for number, about, sample in sorted(found, key=lambda one: one[0]):
        row, image, text = rows[number], sample.image(), sample.place("txt")
        caption = tar.bytes(*text).decode("utf-8", "replace") if row.tar and text else row.caption
        yield Picture(
            uid=uid_of(about["sha256"], caption),
            image=tar.bytes(*image) if image else b"",
            caption=caption,
            url=row.tar or row.url,
            width=int(about["original_width"]),
            height=int(about["original_height"]),
            sha256=about["sha256"],
            weight=row.weight,
            license=row.license,
            source=row.source,
        )


def _from_pool(context: StageContext, upload: Path, tally: Tally) -> Iterator[Picture]:
    """The samples of the board's pool that the file names."""
    unsafe = context.job.board.byod.unsafe
    named = {row.uid: row for row in rows_of(upload, unsafe) if row.cause is None and row.uid}
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
            yield _pooled(pool, place, named[uid])


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
    return Picture(uid, image, caption, "", width, height, digest, row.weight, row.license, extension, row.source)
