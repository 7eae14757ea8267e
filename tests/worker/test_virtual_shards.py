"""Virtual shards: rows, bytes and batches of resharded tars, out of the pool's own; a tar that is wrong is named."""

import gc
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from small_pool import SmallPool
from stage_job import stage_context

from datacomp.messages import SUBSET_FILE, Stage
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput, PlatformFault
from datacomp.reshard.virtual import CHECKED, few, from_tars
from datacomp.scales import SCALES
from datacomp.uids import sort, write_subset
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.shards import SubsetShards, mixture_digest, open_shards, write_mixture
from datacomp_worker.stages import subset as stage
from datacomp_worker.subsets import materialise, reshard, select, virtual
from datacomp_worker.training.draws import Draws
from datacomp_worker.training.feed import get_data
from datacomp_worker.training.models import register_models
from datacomp_worker.training.reader import Reader


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """60 rows in 3 tars; in the second, every json stands before the image."""
    directory = tmp_path_factory.mktemp("pool") / "small"
    SmallPool(rows=60, shards=3, features=False).write(directory)
    rewrite(directory / "shards/00000001.tar", lambda name: (name.partition(".")[0], name.partition(".")[2] != "json"))
    return ingest(directory, processes=1)


def rewrite(path: Path, order) -> None:
    """Write a tar's files in another order."""
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    with tarfile.open(path, "w") as tar:
        for name in sorted(files, key=order):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            tar.addfile(member, io.BytesIO(files[name]))


def subset(pool: Pool, *rows: int):
    return sort(np.asarray(pool.uids)[list(rows)])


SOME = (2, 59, 30, 30, 30, 41, 17, 5, 5, 20, 21)
"""Of all three tars, some repeated."""


@pytest.fixture(scope="module")
def both(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> tuple[SubsetShards, SubsetShards]:
    """The same subset in tars of its own and virtually."""
    home = tmp_path_factory.mktemp("shards")
    uids = subset(pool, *SOME)
    return reshard(pool, uids, home / "tars", shard_size=4), virtual(pool, uids, home / "virtual", indexes=home / "i")


def batches(shards, *, workers: int = 0, samples: int = 48) -> list:
    register_models()
    name = SCALES["tiny"].model
    _, transform, _ = open_clip.create_model_and_transforms(name, load_weights=False)
    args = SimpleNamespace(
        seed=3, batch_size=8, rank=0, world_size=1, workers=workers, train_num_samples=samples, device="cpu"
    )
    return list(get_data(shards, args, (transform, None), tokenizer=open_clip.get_tokenizer(name))["train"].dataloader)


# --- the same as resharded tars


def test_samples_come_in_the_resharders_order_with_the_same_bytes(both) -> None:
    tars, own = both
    assert (own.samples, own.shards) == (tars.samples, 3) == (len(SOME), 3)
    readers = [Reader(shards) for shards in both]
    for row in range(len(SOME)):
        one, other = (reader._bytes(reader._place(row)) for reader in readers)
        assert one == other
    assert sorted(path.name for path in own.directory.iterdir()) == ["index.npy", "meta.json"]


def test_batches_are_those_of_resharded_tars_bit_for_bit(both) -> None:
    tars, own = (batches(shards) for shards in both)
    assert len(tars) == len(own) == 6
    for (images, tokens), (own_images, own_tokens) in zip(tars, own, strict=True):
        assert torch.equal(images, own_images)
        assert torch.equal(tokens, own_tokens)
    again = batches(both[1], workers=2)
    assert all(torch.equal(images, other) for (images, _), (other, _) in zip(own, again, strict=True))


def test_both_are_told_apart_in_the_cache_and_made_once(pool: Pool, tmp_path: Path) -> None:
    selection = select(pool, subset(pool, *SOME))
    cache = ShardCache(tmp_path, 1 << 30)

    def made(kind, report=lambda done, total: None) -> SubsetShards:
        with materialise(pool, selection, cache, report=report, check=lambda: None, kind=kind) as shards:
            return shards

    told = []
    assert made("tars").tars is None
    assert made("virtual", lambda done, total: told.append((done, total))).tars is not None
    assert told == [(1, 3), (2, 3), (3, 3)]

    def must_not_make(done: int, total: int) -> None:
        raise AssertionError("made twice")

    assert made("virtual", must_not_make) == open_shards(made("virtual", must_not_make).directory)


@pytest.mark.parametrize("kind", ["tars", "virtual"])
def test_the_stage_settles_the_same_subset_either_way(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("DATACOMP_SUBSETS", kind)
    write_subset(tmp_path / SUBSET_FILE, subset(pool, 0, *SOME))
    context = stage_context(
        Stage.SUBSET, tmp_path / "a", {SUBSET_FILE: tmp_path / SUBSET_FILE}, pool_dir=pool.directory
    )
    result = stage.run(context).result
    assert (result.samples, result.unavailable, result.shards > 0) == (len(SOME), 1, True)
    assert result.subset_digest == select(pool, subset(pool, *SOME)).digest
    assert bool(list(context.scratch.glob("subsets/*/*.tar"))) == (kind == "tars")


def test_the_default_is_virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    from datacomp_worker.settings import CacheSettings

    monkeypatch.delenv("DATACOMP_SUBSETS", raising=False)
    assert CacheSettings().subsets == "virtual"


# --- what is wrong with a tar


@pytest.fixture
def site(tmp_path: Path) -> Pool:
    SmallPool(rows=24, shards=2, features=False, without_image=0).write(tmp_path / "pool")
    return ingest(tmp_path / "pool", processes=1)


def gone(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def other_samples(path: Path) -> None:
    """As long as before, and a good tar, but its samples changed places."""
    size = path.stat().st_size
    rewrite(path, lambda name: (-int(name.partition(".")[0]), name))
    assert path.stat().st_size == size


def touched(path: Path) -> None:
    os.utime(path, ns=(0, 1))


@pytest.mark.parametrize(
    ("harm", "code"),
    [(gone, "missing"), (truncated, "changed"), (emptied, "changed"), (other_samples, "changed")],
)
def test_a_tar_that_is_not_as_ingested_is_refused_before_training(site: Pool, tmp_path: Path, harm, code: str) -> None:
    harm(site.tar_file(1))
    with pytest.raises(PlatformFault) as caught:
        virtual(site, site.sorted_uids, tmp_path / "out", indexes=tmp_path / "i")
    problem = caught.value.problems[0]
    assert (problem.code, problem.where, bool(problem.hint)) == (f"tar-{code}", str(site.tar_file(1)), True)
    assert not (tmp_path / "out/meta.json").exists()


@pytest.mark.parametrize(("harm", "code"), [(gone, "missing"), (truncated, "changed"), (touched, "changed")])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_tar_that_changes_later_ends_training_in_a_typed_fault(
    site: Pool, tmp_path: Path, harm, code: str, workers: int
) -> None:
    shards = virtual(site, site.sorted_uids, tmp_path / "out", indexes=tmp_path / "i")
    harm(site.tar_file(0))
    with pytest.raises(PlatformFault) as caught:
        batches(shards, workers=workers)
    problem = caught.value.problems[0]
    caught.value.__traceback__ = None
    del caught
    gc.collect()  # ends the loader's process: it would keep open whatever this process had open
    assert (problem.code, problem.where) == (f"tar-{code}", str(site.tar_file(0)))
    assert "ingest its pool again" in problem.hint


def test_a_tar_that_is_cut_while_it_is_open_is_no_undecodable_sample(site: Pool, tmp_path: Path) -> None:
    reader = Reader(virtual(site, site.sorted_uids, tmp_path / "out", indexes=tmp_path / "i"))
    reader.read(0)
    truncated(site.tar_file(0))
    with pytest.raises(PlatformFault) as caught:
        [reader.read(row) for row in range(12)]
    assert caught.value.problems[0].code == "tar-changed"
    assert "ends before byte" in caught.value.problems[0].message


def test_a_tar_of_our_own_that_is_cut_is_told_with_another_hint(site: Pool, tmp_path: Path) -> None:
    shards = reshard(site, site.sorted_uids, tmp_path / "out")
    truncated(shards.tar(0))
    with pytest.raises(PlatformFault) as caught:
        batches(shards)
    assert caught.value.problems[0].hint == f"remove {tmp_path / 'out'}; it is made again"


def test_a_tar_written_again_as_it_was_is_looked_at_again(site: Pool, tmp_path: Path) -> None:
    selection = select(site, site.sorted_uids)
    cache = ShardCache(tmp_path / "scratch", 1 << 30)
    made = []
    for _ in range(2):
        with materialise(site, selection, cache, report=lambda *_: None, check=lambda: None, kind="virtual") as shards:
            batches(shards)
            made.append(shards.directory)
        touched(site.tar_file(0))
    assert made[0] != made[1]


def test_the_first_and_last_samples_of_a_tar_are_among_those_looked_at() -> None:
    rows = np.repeat(np.arange(10, 1000), 3)
    assert few(rows).size == CHECKED
    assert (few(rows)[0], few(rows)[-1]) == (10, 999)
    assert few(rows[:4]).tolist() == [10, 11]


# --- several sources


def folder_of(tars: list[Path], to: Path) -> Path:
    from_tars(tars, to)
    return to


def test_any_tars_can_be_a_source_and_samples_need_no_uid(site: Pool, tmp_path: Path) -> None:
    tars = [site.tar_file(0), site.tar_file(1)]
    with tarfile.open(tars[1]) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        for name, data in files.items():
            if not name.endswith(".json") and name != "000000003.txt":
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    assert from_tars([tars[0], tmp_path / "other.tar"], tmp_path / "folder") == 23
    reader = Reader(open_shards(tmp_path / "folder"))
    captions = [reader.read(row)[1] for row in range(23)]
    assert captions[12:] == [
        data.decode() for name, data in files.items() if name.endswith(".txt") and "03." not in name
    ]


def test_tars_that_cannot_be_a_source_are_all_named(site: Pool, tmp_path: Path) -> None:
    emptied_tar = tmp_path / "noise.tar"
    emptied_tar.write_bytes(b"\xff" * 5000)
    with pytest.raises(BadInput) as caught:
        from_tars([site.tar_file(0), tmp_path / "none.tar", emptied_tar], tmp_path / "folder")
    assert [problem.code for problem in caught.value.problems] == ["tar-missing", "tar-damaged"]
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(BadInput) as caught:
        from_tars([tmp_path / "empty.tar"], tmp_path / "folder")
    assert caught.value.problems[0].code == "shards-without-samples"


def test_a_mixture_reads_its_sources_in_order_and_draws_by_weight(site: Pool, tmp_path: Path) -> None:
    first, second = (folder_of([site.tar_file(n)], tmp_path / f"source-{n}") for n in (0, 1))
    mixture = write_mixture(tmp_path / "mixture", [(first, 3.0), (second, 0.5)])
    assert open_shards(tmp_path / "mixture") == mixture
    assert (mixture.samples, mixture.shards) == (24, 2)
    reader, parts = Reader(mixture), [Reader(open_shards(folder)) for folder in (first, second)]
    for row in (0, 11, 12, 23):
        (image, caption), (own, own_caption) = reader.read(row), parts[row // 12].read(row % 12)
        assert (image.tobytes(), caption) == (own.tobytes(), own_caption)
    images = batches(mixture)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(images, batches(mixture, workers=2), strict=True))
    plain = batches(write_mixture(tmp_path / "even", [(first, 2.0), (second, 2.0)]))
    assert not torch.equal(images[0][0], plain[0][0])


def test_equal_weights_are_the_draws_without_weights() -> None:
    numbers = np.arange(1000, dtype=np.uint64)
    assert (Draws.of(4, [(30, 2.0), (70, 2.0)]).rows(numbers) == Draws(4, 100).rows(numbers)).all()


def test_rows_are_drawn_in_proportion_to_their_sources_weights() -> None:
    """As open_clip's upsampling factors: by sample, whatever the size of its source."""
    sources = [(10, 1.0), (40, 0.25), (5, 8.0), (100, 0.5)]
    draws, count = Draws.of(11, sources), 200_000
    assert draws.population == 155
    rows = draws.rows(np.arange(count, dtype=np.uint64))
    weights = np.concatenate([np.full(size, weight) for size, weight in sources])
    expected = count * weights / weights.sum()
    chi_square = ((np.bincount(rows, minlength=155) - expected) ** 2 / expected).sum()
    assert 103 < chi_square < 216  # 154 degrees of freedom: both tails below 0.001
    assert (draws.rows(np.arange(500, 600, dtype=np.uint64)) == rows[500:600]).all()
    assert (Draws.of(12, sources).rows(np.arange(count, dtype=np.uint64)) == rows).mean() < 0.05


def test_the_ends_of_the_scale_fall_into_the_first_and_last_rows() -> None:
    draws = Draws.of(0, [(3, 0.1), (7, 0.3), (1, 1e-9)])
    at = draws._weighted(np.array([0.0, 1 - 2.0**-53]))
    assert at[0] == 0
    assert at[1] in (9, 10)
    assert set(draws.rows(np.arange(20_000, dtype=np.uint64)).tolist()) == set(range(10))


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_must_be_a_positive_number(site: Pool, tmp_path: Path, weight: float) -> None:
    first = folder_of([site.tar_file(0)], tmp_path / "source")
    with pytest.raises(BadInput) as caught:
        write_mixture(tmp_path / "mixture", [(first, weight)])
    assert (caught.value.problems[0].code, caught.value.problems[0].where) == ("source-weight", str(first))


def test_a_mixture_is_named_by_sources_and_weights() -> None:
    one, two = "1" * 64, "2" * 64
    assert mixture_digest([(one, 3.0)]) == one
    assert mixture_digest([(one, 1.0), (two, 2.0)]) != mixture_digest([(one, 2.0), (two, 1.0)])
    assert mixture_digest([(one, 1), (two, 2)]) == mixture_digest([(one, 1.0), (two, 2.0)])


@pytest.mark.parametrize(
    "meta",
    ["", "[]", "{}", '{"output_count": 1}', '{"sources": [["a"]]}', '{"output_count": 2, "output_shard_count": 1}'],
)
def test_a_damaged_folder_is_a_typed_fault(tmp_path: Path, meta: str) -> None:
    (tmp_path / "meta.json").write_text(meta)
    np.save(tmp_path / "index.npy", np.zeros(1))
    with pytest.raises(PlatformFault) as caught:
        Reader(open_shards(tmp_path))
    assert caught.value.problems[0].code == "subset-shards-damaged"


def test_an_index_of_another_length_is_a_typed_fault(both, tmp_path: Path) -> None:
    shutil.copytree(both[1].directory, tmp_path / "copy")
    meta = json.loads((tmp_path / "copy/meta.json").read_text())
    (tmp_path / "copy/meta.json").write_text(json.dumps(meta | {"output_count": 5}))
    with pytest.raises(PlatformFault) as caught:
        Reader(open_shards(tmp_path / "copy"))
    assert caught.value.problems[0].code == "subset-shards-damaged"
