"""What needs an accelerator: `pytest -m gpu`. Without one every test here is skipped, and says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_pool import SmallPool
from training_line import Line

from datacomp.pool import Pool, ingest
from datacomp.scales import SCALES
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.subsets import materialise, select
from datacomp_worker.tracks import clip
from datacomp_worker.training.crew import Crew
from datacomp_worker.training.models import read_checkpoint

pytestmark = pytest.mark.gpu
SHORT = replace(SCALES["tiny"], samples_seen=160, batch_size=16, warmup=2, checkpoints=2, threads=None)
AMP = replace(SHORT, precision="amp", grad_checkpointing=True, loader_workers=2)


@pytest.fixture(scope="module")
def gpus() -> int:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    return torch.cuda.device_count()


@pytest.fixture(scope="module")
def pool(gpus: int, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    home = tmp_path_factory.mktemp("gpu")
    SmallPool(rows=60, shards=2, features=False).write(home / "pool")
    return ingest(home / "pool", processes=1)


def train(pool: Pool, home: Path, scale, **how) -> tuple[clip.Trained, Line]:
    home.mkdir()
    line = Line(home)
    selection = select(pool, pool.sorted_uids)
    cache = ShardCache(home / "scratch", 1 << 40)
    with materialise(pool, selection, cache, report=lambda done, total: None, check=lambda: None) as shards:
        return clip.train(selection, scale, 0, shards=shards, workdir=home / "work", report=line, **how), line


def losses(trained: clip.Trained) -> list[float]:
    return [loss for _, loss in trained.loss_curve]


@pytest.fixture(scope="module")
def one(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> tuple[clip.Trained, Line]:
    return train(pool, tmp_path_factory.mktemp("one") / "one", AMP, device="cuda", crew=Crew())


def test_mixed_precision_trains_as_full_precision_does(pool: Pool, one, tmp_path: Path) -> None:
    trained, line = one
    assert "precision amp, TF32 on in matrix products" in line.text
    assert losses(trained) == pytest.approx(losses(train(pool, tmp_path / "cpu", SHORT)[0]), rel=0.05)
    weights = read_checkpoint(trained.checkpoint)["state_dict"]
    assert {str(tensor.dtype) for tensor in weights.values() if tensor.is_floating_point()} == {"torch.float32"}


def test_accumulation_on_a_gpu(pool: Pool, one, tmp_path: Path) -> None:
    parts, _ = train(pool, tmp_path / "parts", AMP, device="cuda", crew=Crew(), accumulation=4)
    assert losses(parts) == pytest.approx(losses(one[0]), rel=0.05)


def test_two_gpus_share_the_batches_of_one(pool: Pool, one, gpus: int, tmp_path: Path) -> None:
    if gpus < 2:
        pytest.skip("this host has one GPU")
    two, line = train(pool, tmp_path / "two", AMP, device="cuda", crew=Crew(processes=2))
    assert "total 2" in line.text
    alone, shared = (read_checkpoint(each.checkpoint)["state_dict"] for each in (one[0], two))
    for name, tensor in alone.items():
        assert (shared[name] - tensor).norm() <= 0.05 * tensor.norm() + 0.05, name


def test_embeddings_on_a_gpu_are_those_of_the_cpu(one) -> None:
    from PIL import Image

    from datacomp_worker.evaluation.model import embedder

    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)) for _ in range(130)]

    class Shown:
        def __init__(self, picture):
            self.decode = lambda: picture

    def embedded(device: str):
        model = clip.load(one[0].checkpoint, AMP, device=device)
        with embedder(model, device) as engine:
            rows = [rows for _, rows in engine.images(pictures, Shown)]
        return np.concatenate([part.cpu().numpy() for part in rows])

    left, right = embedded("cuda"), embedded("cpu")
    assert left.shape == right.shape == (130, 96)
    assert ((left * right).sum(axis=1) > 0.999).all()


def test_faiss_decides_on_a_gpu_as_on_a_cpu(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    faiss = pytest.importorskip("faiss")
    if not hasattr(faiss, "StandardGpuResources"):
        pytest.skip("the installed FAISS knows no GPU: install the extra [gpu] in place of [cpu]")
    from datacomp.uids import UID_DTYPE
    from datacomp_filters.neardup import deduplicate, sketch

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3000, 512)).astype(np.float32)
    rows[2000:] = rows[:1000] + 0.2 * rng.standard_normal((1000, 512))
    uids = np.zeros(3000, UID_DTYPE)
    uids["f1"] = np.arange(3000)
    scores = rng.uniform(0, 0.4, 3000).astype(np.float32)

    def removed():
        return deduplicate(rows.astype(np.float16), uids, scores, threshold=0.95, keep="greedy").removed

    on_gpu = removed()
    monkeypatch.setattr(sketch, "_gpu", lambda: None)
    assert np.array_equal(on_gpu, removed())
    assert on_gpu.sum() > 500
