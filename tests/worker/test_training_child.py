"""Real trainings in real child processes: repeatable, resumable, cancellable, typed when they fail."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from small_pool import SmallPool
from stage_job import Notes, stage_context

from datacomp.messages import CHECKPOINT_FILE, SUBSET_FILE, Progress, Stage, SubsetResult
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput, DatacompError, PlatformFault
from datacomp.scales import SCALES, rehearsal_of
from datacomp.uids import write_subset
from datacomp_worker.environment import environment
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.stages import subset, train
from datacomp_worker.stages.base import Cancelled
from datacomp_worker.subsets import materialise, select
from datacomp_worker.tracks import clip
from datacomp_worker.tracks.clip import Trained
from datacomp_worker.training.events import Plan
from datacomp_worker.training.supervise import child_environment

SHORT = replace(SCALES["tiny"], samples_seen=160, batch_size=16, warmup=2, checkpoints=5)
"""Ten steps, a checkpoint after every second one."""


def training_children(process: psutil.Process | None = None) -> list[psutil.Process]:
    children = (process or psutil.Process()).children(recursive=True)
    return [child for child in children if "datacomp_worker.training.child" in child.cmdline()]


@dataclass
class Line:
    """The line to the server of one training; kills it after the checkpoint `kill_after` is stored."""

    home: Path
    kill_after: str = ""
    cancelled: bool = False
    stored: list[str] = field(default_factory=list)
    seen: list[Progress] = field(default_factory=list)
    text: str = ""

    def progress(self, progress: Progress) -> None:
        self.check()
        self.seen.append(progress)

    def log(self, text: str) -> None:
        self.text += text

    def check(self) -> None:
        if self.cancelled:
            raise Cancelled

    def store(self, name: str, path: Path) -> None:
        shutil.copyfile(path, self.home / name)
        self.stored.append(name)
        if name == self.kill_after:
            mine = [child for child in training_children() if str(self.home) in " ".join(child.cmdline())]
            assert len(mine) == 1
            mine[0].kill()


@dataclass
class Place:
    """A pool and a scratch directory, and trainings on all of it."""

    home: Path
    pool: Pool

    def line(self, name: str, **fields) -> Line:
        home = self.home / name
        home.mkdir()
        return Line(home, **fields)

    def train(self, line: Line, *, scale=SHORT, seed: int = 0, resume: Path | None = None) -> Trained:
        selection = select(self.pool, self.pool.sorted_uids)
        cache = ShardCache(self.home / "scratch", 1 << 40)
        made = materialise(self.pool, selection, cache, report=lambda done, total: None, check=lambda: None)
        workdir = line.home / "work"
        with made as shards:
            return clip.train(selection, scale, seed, shards=shards, workdir=workdir, report=line, resume=resume)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = tmp_path_factory.mktemp("training")
    SmallPool(rows=60, shards=2, features=False).write(home / "pool")
    return Place(home, ingest(home / "pool", processes=1))


@dataclass
class Runs:
    """Outcomes of the trainings that several tests look at, carried out side by side."""

    unbroken: Trained
    unbroken_line: Line
    killed: DatacompError
    killed_line: Line
    resumed: Trained
    resumed_line: Line
    other_seed: Trained
    diverged: DatacompError


@pytest.fixture(scope="module")
def runs(place: Place) -> Runs:
    lines = {name: place.line(name) for name in ("unbroken", "resumed", "other", "diverged")}
    killed_line = place.line("killed", kill_after="epoch_2.pt")

    def failure(line: Line, scale) -> DatacompError:
        with pytest.raises(DatacompError) as caught:
            place.train(line, scale=scale)
        return caught.value

    def break_and_resume() -> tuple[DatacompError, Trained]:
        killed = failure(killed_line, SHORT)
        return killed, place.train(lines["resumed"], resume=killed_line.home / "epoch_2.pt")

    with ThreadPoolExecutor(2) as threads:
        broken = threads.submit(break_and_resume)
        unbroken = threads.submit(place.train, lines["unbroken"])
        other = threads.submit(place.train, lines["other"], seed=1)
        diverged = threads.submit(failure, lines["diverged"], replace(SHORT, learning_rate=1e30))
        killed, resumed = broken.result()
        return Runs(
            unbroken=unbroken.result(),
            unbroken_line=lines["unbroken"],
            killed=killed,
            killed_line=killed_line,
            resumed=resumed,
            resumed_line=lines["resumed"],
            other_seed=other.result(),
            diverged=diverged.result(),
        )


@pytest.mark.timeout(295)
def test_progress_log_and_checkpoints_are_streamed(runs: Runs) -> None:
    line = runs.unbroken_line
    assert line.stored == ["epoch_1.pt", "epoch_2.pt", "epoch_3.pt", "epoch_4.pt"]
    assert (line.seen[0].done, line.seen[-1].done, line.seen[-1].total) == (0, 160, 160)
    assert [p.done for p in line.seen] == sorted(p.done for p in line.seen)
    assert all(p.unit == "samples" for p in line.seen)
    assert line.seen[-1].rate > 0
    assert line.seen[-1].values["loss"] == runs.unbroken.loss_curve[-1][1]
    assert "Start epoch 4" in line.text
    assert [samples for samples, _ in runs.unbroken.loss_curve] == list(range(16, 161, 16))
    assert runs.unbroken.samples_seen == 160
    assert runs.unbroken.resumed_from == 0


def test_a_killed_training_is_a_fault_of_ours(runs: Runs) -> None:
    assert isinstance(runs.killed, PlatformFault)
    assert runs.killed.problems[0].code == "training-killed"
    assert "memory" in runs.killed.problems[0].hint


def test_resumed_after_a_kill_the_weights_are_those_of_an_unbroken_run(runs: Runs) -> None:
    assert runs.resumed.resumed_from == 2
    assert runs.resumed_line.seen[0].done == 64
    assert runs.resumed_line.stored == ["epoch_3.pt", "epoch_4.pt"]
    assert runs.resumed.weights_digest == runs.unbroken.weights_digest
    assert runs.resumed.loss_curve == runs.unbroken.loss_curve


def test_another_seed_gives_other_weights(runs: Runs) -> None:
    assert runs.other_seed.weights_digest != runs.unbroken.weights_digest
    assert runs.other_seed.recipe_digest == runs.unbroken.recipe_digest


def test_divergence_is_told_as_such(runs: Runs) -> None:
    assert isinstance(runs.diverged, BadInput)
    assert runs.diverged.problems[0].code == "training-diverged"
    assert "samples" in runs.diverged.problems[0].message


def test_the_final_weights_load_for_evaluation_and_carry_no_optimiser(runs: Runs) -> None:
    import torch

    model = clip.load(runs.unbroken.checkpoint, SHORT)
    text = model.embed_text(model.tokenizer(["a red circle", "a blue square"]))
    image = model.embed_image(torch.zeros(3, 3, 32, 32))
    assert (text.shape, image.shape) == ((2, 96), (3, 96))
    assert torch.allclose(torch.cat([text, image]).norm(dim=1), torch.ones(5))
    epoch = runs.unbroken_line.home / "epoch_4.pt"
    assert runs.unbroken.checkpoint.stat().st_size < 0.4 * epoch.stat().st_size
    with pytest.raises(PlatformFault) as caught:
        clip.load(runs.unbroken.checkpoint, replace(SHORT, model="ViT-B-32"))
    assert caught.value.problems[0].code == "checkpoint-architecture"
    damaged = epoch.with_name("damaged.pt")
    damaged.write_bytes(epoch.read_bytes()[:-5000])
    with pytest.raises(PlatformFault) as caught:
        clip.load(damaged, SHORT)
    assert caught.value.problems[0].code == "checkpoint-unreadable"


def plan(home: Path, resume: Path, identity: str) -> Plan:
    return Plan(
        scale=SHORT,
        seed=0,
        shards=home,
        workdir=home,
        device="cpu",
        resume=resume,
        identity=identity,
        parent=os.getpid(),
    )


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_left_aside(runs: Runs, tmp_path: Path) -> None:
    from datacomp_worker.training.weights import note_of, place_resume, read_checkpoint

    own = runs.unbroken_line.home / "epoch_3.pt"
    identity = note_of(read_checkpoint(own))["identity"]
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(own.read_bytes()[:1000])
    assert place_resume(plan(tmp_path, damaged, identity)) == 0
    assert place_resume(plan(tmp_path, own, "0" * 64)) == 0
    assert not (tmp_path / "run").exists()
    assert place_resume(plan(tmp_path, own, identity)) == 3
    assert (tmp_path / "run/checkpoints/epoch_latest.pt").is_file()


def test_cancelling_kills_the_child_at_once(place: Place) -> None:
    line = place.line("cancelled")
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(place.train, line)
        deadline = time.monotonic() + 30
        while not (children := training_children()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        line.cancelled = True
        with pytest.raises(Cancelled):
            running.result(timeout=10)
    assert not any(child.is_running() for child in children)


PARENT = """
import sys
from pathlib import Path
from dataclasses import replace
from datacomp.pool import Pool
from datacomp.scales import SCALES
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.subsets import materialise, select
from datacomp_worker.tracks import clip

class Line:
    def progress(self, progress): pass
    def log(self, text): pass
    def check(self): pass
    def store(self, name, path): pass

pool, home = Pool.open(Path(sys.argv[1])), Path(sys.argv[2])
selection = select(pool, pool.sorted_uids)
cache = ShardCache(home, 1 << 40)
with materialise(pool, selection, cache, report=lambda a, b: None, check=lambda: None) as shards:
    clip.train(selection, SCALES["tiny"], 0, shards=shards, workdir=home / "work", report=Line())
"""


def test_the_child_dies_with_its_worker(place: Place, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(place.pool.directory), str(tmp_path)]
    with subprocess.Popen(command) as worker:
        deadline = time.monotonic() + 60
        while not (children := training_children(psutil.Process(worker.pid))) or children[0].memory_info().rss < 60e6:
            assert time.monotonic() < deadline
            time.sleep(0.05)  # until it is well into importing the trainer
        worker.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=5)
        assert not alive


def test_the_child_gets_the_scales_threads_and_no_secrets(tmp_path: Path) -> None:
    given = {"DATACOMP_WORKER_TOKEN": "secret", "PATH": "/bin", "RANK": "1"}
    made = child_environment(plan(tmp_path, tmp_path, "0" * 64), given)
    assert (made["OMP_NUM_THREADS"], made["PATH"]) == ("2", "/bin")
    assert "secret" not in made.values()
    assert "RANK" not in made


@pytest.mark.timeout(200)
def test_the_stages_take_a_rehearsal_from_uids_to_a_checkpoint(place: Place, tmp_path: Path) -> None:
    uids = tmp_path / SUBSET_FILE
    write_subset(uids, place.pool.sorted_uids)
    shared = {"pool_dir": place.pool.directory, "rehearsal": True, "pool_digest": place.pool.manifest.digest}
    first = stage_context(Stage.SUBSET, tmp_path / "a", {SUBSET_FILE: uids}, **shared)
    chosen = subset.run(first)
    assert (chosen.result.samples, chosen.result.unique, chosen.result.unavailable) == (32, 32, 2)
    assert np.load(chosen.files[SUBSET_FILE]).size == 32

    notes = Notes()
    inputs = {SUBSET_FILE: chosen.files[SUBSET_FILE]}
    second = stage_context(Stage.TRAIN, tmp_path / "b", inputs, notes=notes, before=[chosen.result], **shared)
    trained = train.run(second)
    assert trained.result.subset_digest == chosen.result.subset_digest
    result, scale = trained.result, rehearsal_of(SCALES["tiny"])
    assert (result.samples_seen, result.threads, result.precision, result.device) == (32, 2, "fp32", "cpu")
    assert result.scale_digest == scale.digest
    assert result.final_loss == result.loss_curve[-1][1]
    assert clip.load(trained.files[CHECKPOINT_FILE], scale).module.training is False
    assert "Start epoch 0" in notes.text


def test_a_host_that_lacks_images_which_the_site_has_does_not_train(place: Place, tmp_path: Path) -> None:
    uids = tmp_path / SUBSET_FILE
    write_subset(uids, place.pool.sorted_uids)
    settled = SubsetResult(samples=60, unique=60, unavailable=0, shards=1, subset_digest="0" * 64)
    context = stage_context(
        Stage.TRAIN, tmp_path / "b", {SUBSET_FILE: uids}, before=[settled], pool_dir=place.pool.directory
    )
    with pytest.raises(PlatformFault, match="subset-differs-here"):
        train.run(context)


def test_a_site_with_metadata_alone_hands_the_uids_on_and_does_not_train(tmp_path: Path) -> None:
    directory = tmp_path / "pool"
    SmallPool(rows=20, shards=1, features=False).write(directory)
    shutil.rmtree(directory / "shards")
    pool = ingest(directory, processes=1)
    uids = tmp_path / SUBSET_FILE
    write_subset(uids, pool.sorted_uids)
    chosen = subset.run(stage_context(Stage.SUBSET, tmp_path / "a", {SUBSET_FILE: uids}, pool_dir=directory))
    assert (chosen.result.samples, chosen.result.unavailable, chosen.result.shards) == (20, 20, 0)
    assert np.array_equal(np.load(chosen.files[SUBSET_FILE]), pool.sorted_uids)
    context = stage_context(Stage.TRAIN, tmp_path / "b", chosen.files, before=[chosen.result], pool_dir=directory)
    with pytest.raises(PlatformFault, match="pool-without-images"):
        train.run(context)


def test_the_environment_names_what_a_result_depends_on() -> None:
    found = environment()
    assert {"python", "torch", "open_clip", "numpy", "datacomp", "cpu", "cpus"} <= found.keys()
    assert found["open_clip"] == "3.3.0"
    assert all(isinstance(value, str) and value for value in found.values())
