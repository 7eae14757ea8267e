"""Full disks, read-only disks, damaged pools: typed failures with hints, nothing half-written, the quota given back."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from disks import Disk, small_disk
from invariants import check_invariants
from quick_platform import QuickPlatform, go_on, stop, subset
from server_site import ORGANISER_TOKEN, WORKER_TOKEN, codes, running, uids, write_boards
from small_pool import SmallPool
from stage_job import stage_context

from datacomp.messages import SUBSET_FILE, Blame, DedupMode, DedupSetting, Stage, SubmissionOut
from datacomp.pool import ingest
from datacomp.problems import DatacompError
from datacomp.uids import write_subset
from datacomp_server.settings import Settings
from datacomp_worker.pipeline import describe_failure
from datacomp_worker.stages import dedup
from datacomp_worker.stages import subset as subset_stage
from datacomp_worker.subsets import Kind

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
PATIENCE = 300.0


@dataclass
class Site:
    platform: QuickPlatform
    scratch: Disk
    storage: Disk

    @property
    def pool(self) -> Path:
        return self.platform.data_dir / "pools" / "tiny"

    def outcome(self, number: int) -> SubmissionOut:
        """Hand a subset in and wait for its end."""
        submission = self.platform.submit(number)
        self.platform.wait_until_final([submission], PATIENCE)
        receipt = self.platform.receipt(submission)
        assert receipt is not None
        return receipt

    def refusal(self, number: int) -> DatacompError:
        """Hand a subset in that is refused."""
        path = self.platform.data_dir / f"{number}.npy"
        write_subset(path, subset(self.platform.data_dir, number))
        with pytest.raises(DatacompError) as caught:
            self.platform.clients[0].submit(path, "small-board", method=f"refused {number}")
        return caught.value


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server and one worker, with storage and scratch on small disks of their own."""
    home = tmp_path_factory.mktemp("disks")
    with ExitStack() as stack:
        scratch = stack.enter_context(small_disk(home / "scratch", 8))
        storage = stack.enter_context(small_disk(home / "storage", 128))
        settings = {
            "DATACOMP_SCRATCH_DIR": str(scratch.path),
            "DATACOMP_STORAGE_URL": f"file://{storage.path}",
            "DATACOMP_MAX_ATTEMPTS": "2",
            "DATACOMP_LEASE_SECONDS": "60",
            "QUICK_SECONDS": "0.2",
            "DATACOMP_SUBSETS": "tars",  # they take room
        }
        platform = QuickPlatform(home / "data", servers=1, dispatchers=1, workers=1, settings=settings)
        yield Site(stack.enter_context(platform), scratch, storage)


def check_failed(receipt: SubmissionOut, *codes: str) -> None:
    assert receipt.state == "failed", receipt.state
    assert receipt.quota_refunded
    assert receipt.failure is not None
    assert receipt.failure.blame is Blame.PLATFORM
    (problem,) = receipt.failure.problems
    assert problem.code in codes, problem
    assert problem.hint


def test_a_workers_full_disk(site: Site, summary: Callable[[str], None]) -> None:
    for number, left in enumerate((0, 4096, 60_000), 1):
        with site.scratch.full(left):
            check_failed(site.outcome(number), "worker-disk-full", "disk-full", "disk-short")
        subsets = site.scratch.path / "subsets"
        assert not subsets.exists() or not [path for path in subsets.iterdir() if path.is_dir()], "half-written shards"
        attempts = site.scratch.path / "attempts"
        assert not attempts.exists() or not list(attempts.iterdir())
    assert site.outcome(4).state == "scored"
    summary("a worker's disk full at three points: typed, refunded, nothing left behind, goes on with room")


def test_the_servers_full_disk(site: Site, summary: Callable[[str], None]) -> None:
    with site.storage.full():
        refused = site.refusal(11)
    assert refused.problems[0].code == "storage-full"
    assert refused.problems[0].hint
    worker = site.platform.of("worker")[0]
    stop(worker)
    submission = site.platform.submit(12)
    with site.storage.full():
        go_on(worker)
        site.platform.wait_until_final([submission], PATIENCE)
    receipt = site.platform.receipt(submission)
    assert receipt is not None
    check_failed(receipt, "storage-full")
    assert not [path for path in (site.storage.path / "parts").glob("*") if path.is_file()], "parts left behind"
    assert site.outcome(11).state == "scored"
    summary("the server's storage full, at opening and when outputs come: storage-full, refunded, no part left behind")


def test_the_servers_read_only_disk(site: Site, summary: Callable[[str], None]) -> None:
    with site.storage.read_only():
        refused = site.refusal(21)
    assert "storage-read-only" in str(refused), "the client waits for a while, and then says what the server said"
    assert refused.problems[0].hint
    assert site.outcome(21).state == "scored"
    summary("the server's storage read-only: 503 storage-read-only, goes on when it can be written")


@contextmanager
def damaged(path: Path, change: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """Within, a file's content is another, or the file is gone."""
    whole = path.read_bytes()
    other = change(whole)
    if other is None:
        path.unlink()
    else:
        path.write_bytes(other)
    try:
        yield
    finally:
        path.write_bytes(whole)


DAMAGES: dict[str, tuple[Callable[[bytes], bytes | None], tuple[str, ...]]] = {
    "missing": (lambda whole: None, ("tar-missing",)),
    "truncated": (lambda whole: whole[: len(whole) // 2], ("tar-changed",)),
    "corrupt": (lambda whole: b"\xff" * len(whole), ("tar-damaged",)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pool_shard(site: Site, summary: Callable[[str], None], damage: str) -> None:
    change, codes = DAMAGES[damage]
    number = 31 + list(DAMAGES).index(damage)
    with damaged(site.pool / "shards" / "00000001.tar", change):
        check_failed(site.outcome(number), *codes)
    assert site.outcome(number).state == "scored"
    summary(f"a pool shard {damage}: {codes[0]}, refunded, goes on when it is restored")


def test_whatever_happened_the_database_is_consistent(site: Site) -> None:
    with site.platform.database() as database:
        check_invariants(database)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_shards_of_either_kind_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, summary: Callable[[str], None], kind: str
) -> None:
    monkeypatch.setenv("DATACOMP_SUBSETS", kind)
    SmallPool(rows=60, shards=2, features=False).write(tmp_path / "pool")
    uids = tmp_path / SUBSET_FILE
    write_subset(uids, ingest(tmp_path / "pool", processes=1).sorted_uids)
    found = []
    with small_disk(tmp_path / "disk", 8) as disk:
        context = stage_context(Stage.SUBSET, disk.path, {SUBSET_FILE: uids}, pool_dir=tmp_path / "pool")
        for left in (0, 4096):
            with disk.full(left), pytest.raises((DatacompError, OSError)) as caught:
                subset_stage.run(context)
            failure = describe_failure(caught.value)
            assert failure.blame is Blame.PLATFORM
            assert failure.problems[0].hint
            found.append(failure.problems[0].code)
            assert not list(disk.path.rglob("*.part")), "half-written shards"
        assert set(found) <= {"worker-disk-full", "disk-full", "disk-short"}
        made = subset_stage.run(context).result
        assert (made.samples, made.unavailable) == (58, 2), "two of the pool have no image"
    summary(f"{kind} shards, scratch full at two points: {', '.join(found)}; made with room")


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_truncated_features(tmp_path: Path, size: int) -> None:
    directory = tmp_path / "pool"
    SmallPool(rows=60, shards=2).write(directory)
    pool = ingest(directory, processes=1)
    uids = tmp_path / SUBSET_FILE
    write_subset(uids, pool.sorted_uids)
    features = next((directory / "metadata").glob("*.npz"))
    features.write_bytes(features.read_bytes()[:size])
    setting = DedupSetting(mode=DedupMode.APPLY)
    context = stage_context(
        Stage.DEDUP, tmp_path / "a", {SUBSET_FILE: uids}, pool_dir=directory, dedup=setting.model_dump()
    )
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it becomes is looked at
        dedup.run(context)
    failure = describe_failure(caught.value)
    assert failure.blame is Blame.PLATFORM
    assert failure.problems[0].code not in {"stage-crashed"}, failure
    assert failure.problems[0].hint
    assert str(features.name) in f"{failure.problems[0].where} {failure.problems[0].message}"


def settings_on(disk: Disk, elsewhere: Path) -> Settings:
    """A server whose database alone is on the disk."""
    return Settings(
        data_dir=disk.path,
        boards_file=write_boards(disk.path),
        storage_url=f"file://{elsewhere / 'storage'}",
        worker_token=WORKER_TOKEN,
        organiser_token=ORGANISER_TOKEN,
        rate_limits=False,
    )


def test_a_database_on_a_full_disk(tmp_path: Path, summary: Callable[[str], None]) -> None:
    content = uids(1)
    with small_disk(tmp_path / "data", 8) as disk, running(settings_on(disk, tmp_path)) as site:
        before = site.score("ada", content)
        with disk.full():
            replies = [
                site.http.post("/api/submissions", json=site.announce(uids(seed)), headers=site.headers("ada"))
                for seed in range(2, 10)
            ]
        refused = [reply for reply in replies if reply.status_code != 201]
        assert refused
        assert {(reply.status_code, *codes(reply)) for reply in refused} == {(503, "database-full")}
        assert all(problem["hint"] for reply in refused for problem in reply.json()["problems"])
        assert site.receipt(before.id) == before
        assert site.score("ada", uids(20)).state == "scored"
        check_invariants(site.database, finished=False)
    summary(f"{len(refused)} of {len(replies)} requests refused with database-full, nothing of them left")


def test_a_read_only_data_directory_is_told_at_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "data", 8) as disk, disk.read_only():
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DATACOMP_")}
        done = subprocess.run(
            [sys.executable, "-m", "datacomp", "server", "--port", "0"],
            env=environment | {"DATACOMP_DATA_DIR": str(disk.path)},
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert str(disk.path) in done.stderr
    assert "hint" in done.stderr.lower() or "check" in done.stderr.lower(), done.stderr
