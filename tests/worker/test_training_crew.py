"""The same training shared by several processes, hosts or parts of a batch: the same samples, the same weights."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
import torch
from small_pool import SmallPool
from training_line import Line

from datacomp.pool import Pool, ingest
from datacomp.problems import DatacompError, PlatformFault
from datacomp.scales import SCALES
from datacomp_worker.settings import TrainSettings
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.stages.base import Cancelled
from datacomp_worker.stages.train import crew_of
from datacomp_worker.subsets import SubsetShards, materialise, select
from datacomp_worker.tracks import clip
from datacomp_worker.tracks.clip import Trained
from datacomp_worker.training import supervise
from datacomp_worker.training.agents import CALLS
from datacomp_worker.training.crew import Crew
from datacomp_worker.training.models import read_checkpoint

SUPPORT = Path(__file__).parents[1] / "support"
SHORT = replace(SCALES["tiny"], samples_seen=96, batch_size=16, warmup=2, checkpoints=2)
"""Six steps, a checkpoint in the middle."""


@dataclass
class Place:
    """A pool, its shards, and trainings on all of it."""

    home: Path
    pool: Pool

    def line(self, name: str) -> Line:
        (self.home / name).mkdir()
        return Line(self.home / name)

    def train(self, line: Line, *, scale=SHORT, spoil=lambda shards: None, **how) -> Trained:
        selection = select(self.pool, self.pool.sorted_uids)
        cache = ShardCache(how.pop("scratch", self.home / "scratch"), 1 << 40)
        with materialise(self.pool, selection, cache, report=lambda done, total: None, check=lambda: None) as shards:
            spoil(shards)
            return clip.train(selection, scale, 0, shards=shards, workdir=line.home / "work", report=line, **how)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = tmp_path_factory.mktemp("crew")
    SmallPool(rows=60, shards=2, features=False).write(home / "pool")
    return Place(home, ingest(home / "pool", processes=1))


@pytest.fixture(scope="module")
def alone(place: Place) -> Trained:
    return place.train(place.line("alone"))


def same(one: Trained, other: Trained, *, ranks: int = 1) -> None:
    """Equal but for the order in which floats were added. Of several ranks, the first logs its own share's loss."""
    assert [samples for samples, _ in one.loss_curve] == [samples for samples, _ in other.loss_curve]
    for (_, expected), (_, found) in zip(one.loss_curve, other.loss_curve, strict=True):
        assert found == pytest.approx(expected, rel=1e-3 if ranks == 1 else 0.3)
    weights, others = (read_checkpoint(each.checkpoint)["state_dict"] for each in (one, other))
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        assert (others[name] - tensor).norm() <= 1e-4 * tensor.norm() + 1e-3, name
    assert one.recipe_digest == other.recipe_digest


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_gradients_accumulated_over_parts_train_as_whole_batches_do(place: Place, alone: Trained) -> None:
    line = place.line("parts")
    parts = place.train(line, accumulation=4)
    assert (alone.accumulation, parts.accumulation, parts.samples_seen) == (1, 4, 96)
    same(alone, parts)
    assert all(0 <= seen.values["data_wait"] <= 1 for seen in line.seen if seen.values)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_memory_that_is_short_of_the_batch_is_answered_with_smaller_parts(
    place: Place, alone: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "CHILD", "short_of_memory")
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setenv("SHORT_OF_MEMORY", "8 64")  # more than 8 images do not fit, from sample 64 on
    line = place.line("short")
    trained = place.train(line)
    assert (trained.accumulation, trained.resumed_from, trained.samples_seen) == (2, 0, 96)
    assert "in 2 parts" in line.text
    assert [seen.done for seen in line.seen][-5:] == [64, 48, 64, 80, 96]  # it went on from its checkpoint
    assert {"epoch_1.pt"} == {path.name for path in line.home.glob("*.pt")}
    same(alone, trained)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_memory_that_is_short_of_one_sample_is_a_fault_of_ours(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "CHILD", "short_of_memory")
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setenv("SHORT_OF_MEMORY", "0 0")
    with pytest.raises(PlatformFault) as caught:
        place.train(place.line("none"), accumulation=16)
    assert caught.value.problems[0].code == "training-out-of-memory"


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_two_processes_share_the_batches_of_one(place: Place, alone: Trained) -> None:
    line = place.line("two")
    two = place.train(line, crew=Crew(processes=2), accumulation=2)
    assert "total 2" in line.text
    same(alone, two, ranks=2)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


SERVE = """
import sys
from pathlib import Path
from datacomp_worker.training.host import serve
serve(Path(sys.argv[1]), shares=1)
"""


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_further_host_joins_and_its_end_ends_the_training(place: Place, alone: Trained) -> None:
    crew = Crew(launcher="hosts", hosts=2, rendezvous=f"127.0.0.1:{free_port()}")
    line, calls = place.line("hosts"), place.home / CALLS
    (calls / "old.call").parent.mkdir()
    (calls / "old.call").write_text("/nowhere/plan.json")
    with subprocess.Popen([sys.executable, "-c", SERVE, str(place.home)]) as host:
        trained = place.train(line, crew=crew, calls=calls)
        assert host.wait(60) == 0
    same(alone, trained, ranks=2)
    assert [call.name for call in calls.iterdir()] == ["old.call"]
    assert list((line.home / "work").glob("host-*.log"))


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_slurm_job_trains_too(place: Place, alone: Trained) -> None:
    """Through submitit's local executor: the same road, but for sbatch."""
    line = place.line("slurm")
    crew = Crew(launcher="slurm", cluster="local", processes=2, options={"slurm_partition": "gpu"})
    trained = place.train(line, crew=crew, accumulation=2)
    assert "submitted as job" in line.text
    assert "Start epoch 1" in line.text
    same(alone, trained, ranks=2)
    assert alone.environment == {}
    assert trained.environment["torch"] == version("torch"), "told by the job, of the host that it ran on"


def children(marker: Path) -> list[psutil.Process]:
    """Processes, ours or no longer, whose command names this directory."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(marker) in part for part in process.info["cmdline"] or ())
    ]


def await_ranks(workdir: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(workdir.glob("pulse.*"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_cancelled_slurm_job_leaves_nothing_behind(place: Place) -> None:
    line = place.line("cancelled")
    work = line.home / "work"
    long = replace(SHORT, samples_seen=160_000)
    crew = Crew(launcher="slurm", cluster="local", processes=2)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(place.train, line, scale=long, crew=crew)
        await_ranks(work, 2)
        mine = children(line.home)
        assert len(mine) >= 4
        line.cancelled = True
        with pytest.raises(Cancelled):
            running.result(timeout=40)
    _, alive = psutil.wait_procs(mine, timeout=20)
    assert not alive


def test_a_disk_that_does_not_answer_is_told_from_a_step_that_does_not_end(place: Place) -> None:
    def spoil(shards: SubsetShards) -> None:
        for tar in shards.directory.glob("*.tar"):
            tar.unlink()
            os.mkfifo(tar)  # opening it waits for ever

    with pytest.raises(PlatformFault) as caught:
        place.train(place.line("stalled"), spoil=spoil, scratch=place.home / "spoilt", stall_seconds=3)
    problem = caught.value.problems[0]
    assert (problem.code, problem.where) == ("training-stalled", "data")
    assert "rank 0 waits for data" in problem.message


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_stopped_step_is_told(place: Place) -> None:
    line = place.line("stopped")
    work = line.home / "work"

    def stop() -> None:
        deadline = time.monotonic() + 120
        while not (work / "pulse.0").exists() or not (work / "pulse.0").read_text().startswith("step"):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        for process in children(line.home):
            process.send_signal(signal.SIGSTOP)

    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(stop)
        with pytest.raises(DatacompError) as caught:
            place.train(line, scale=replace(SHORT, samples_seen=160_000), stall_seconds=3)
        stopping.result()
    assert caught.value.problems[0].code == "training-stalled"
    assert isinstance(caught.value, PlatformFault)


def test_settings_become_a_crew() -> None:
    def crew(gpus: int = 0, device: str = "cuda", **settings: object) -> Crew:
        return crew_of(TrainSettings(**settings), device, gpus)

    assert (crew().processes, crew(8).processes, crew(8, processes=2).processes, crew(8, "cpu").processes) == (
        1,
        8,
        2,
        1,
    )
    slurm = crew(launcher="slurm", hosts=4, processes=8, slurm={"slurm_partition": "a100"})
    assert (slurm.size, slurm.options) == (32, {"slurm_partition": "a100"})
    with pytest.raises(PlatformFault, match="cannot be launched locally"):
        crew(hosts=2)
    with pytest.raises(PlatformFault, match="DATACOMP_TRAIN_RENDEZVOUS"):
        crew(launcher="hosts", hosts=2)


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    """Of every weight, the logit scale too, which the trainer alone would give several times its gradient."""
    from types import SimpleNamespace

    import open_clip
    from open_clip_train import train as trainer

    from datacomp_worker.training.models import register_models
    from datacomp_worker.training.watch import share_evenly

    register_models()
    torch.manual_seed(0)
    images, texts = torch.randn(16, 3, 32, 32), torch.randint(1, 400, (16, 32))

    def gradients(parts: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        model = open_clip.create_model("tiny-ViT-8-32", output_dict=True, load_weights=False)
        share_evenly(model, parts)
        batches = list(zip(images.chunk(parts), texts.chunk(parts), strict=True))
        feed = SimpleNamespace(dataloader=_Loader(batches), set_epoch=lambda epoch: None)
        args = SimpleNamespace(
            device="cpu", precision="fp32", distill=False, accum_freq=parts, skip_scheduler=True, horovod=False,
            grad_clip_norm=None, rank=0, local_rank=0, world_size=1, batch_size=16 // parts,
            log_every_n_steps=1, wandb=False,
        )  # fmt: skip
        loss, optimizer = open_clip.ClipLoss(), torch.optim.SGD(model.parameters(), lr=0.0)
        trainer.train_one_epoch(model, {"train": feed}, loss, 0, optimizer, None, None, None, args)
        return {name: weight.grad for name, weight in model.named_parameters()}

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # where other work runs, threads that wait for each other take minutes
    try:
        whole, parts = gradients(1), gradients(4)
    finally:
        torch.set_num_threads(threads)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        assert torch.allclose(parts[name], gradient, rtol=1e-3, atol=1e-6), name


class _Loader(list):
    @property
    def num_batches(self) -> int:
        return len(self)

    num_samples = 16
