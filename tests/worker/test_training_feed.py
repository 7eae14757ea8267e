"""The seeded feed: every draw is a function of seed and sample number, whoever reads; transforms are the trainer's."""

import random
import tarfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from small_pool import SmallPool

from datacomp.pool import ingest
from datacomp.problems import PlatformFault
from datacomp.scales import SCALES
from datacomp.uids import sort
from datacomp_worker.subsets import SubsetShards, reshard
from datacomp_worker.training.draws import Draws
from datacomp_worker.training.feed import Batches, Reader, SplitTransform, get_data
from datacomp_worker.training.models import register_models


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> SubsetShards:
    """38 samples, the last repeated: 40 in two tars."""
    home = tmp_path_factory.mktemp("feed")
    SmallPool(rows=40, shards=2, features=False).write(home / "pool")
    pool = ingest(home / "pool", processes=1)
    rows = [*range(2, 40), 39, 39]
    return reshard(pool, sort(np.asarray(pool.uids)[rows]), home / "shards", shard_size=25)


@pytest.fixture(scope="module")
def recipe():
    """The trainer's own transform and tokenizer for `tiny`."""
    register_models()
    _, transform, _ = open_clip.create_model_and_transforms(SCALES["tiny"].model, load_weights=False)
    return transform, open_clip.get_tokenizer(SCALES["tiny"].model)


def batches(shards: SubsetShards, recipe, **changes) -> Batches:
    transform, tokenizer = recipe
    fields = {"transform": transform, "tokenizer": lambda text: tokenizer(text)[0], "batch_size": 8}
    seed = changes.pop("seed", 0)
    return Batches(Reader(shards), Draws(seed, shards.samples), **{**fields, **changes})


def epochs(shards: SubsetShards, recipe, *, workers: int, first: int = 0, last: int = 2) -> list[torch.Tensor]:
    """All images of epochs `first` to `last` - 1, three batches each, as the trainer goes through them."""
    args = SimpleNamespace(
        seed=0, batch_size=8, rank=0, world_size=1, workers=workers, train_num_samples=20, device="cpu"
    )
    feed = get_data(shards, args, (recipe[0], None), epoch=first, tokenizer=recipe[1])["train"]
    assert (feed.dataloader.num_batches, feed.dataloader.num_samples) == (3, 24)
    found = []
    for epoch in range(first, last):
        feed.set_epoch(epoch)
        found += [images for images, _ in feed.dataloader]
    return found


def equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_draws_are_uniform_with_replacement() -> None:
    rows = Draws(seed=1, population=50).rows(np.arange(100_000, dtype=np.uint64))
    counts = np.bincount(rows, minlength=50)
    assert counts.size == 50
    chi_square = ((counts - 2000) ** 2 / 2000).sum()
    assert 23 < chi_square < 86  # 49 degrees of freedom: both tails below 0.001
    pairs = Counter(zip(rows[::2] // 10, rows[1::2] // 10, strict=True))
    assert len(pairs) == 25
    chi_square = sum((n - 2000) ** 2 / 2000 for n in pairs.values())
    assert 7 < chi_square < 52  # neighbours are independent: 24 degrees of freedom


def test_seeds_and_attempts_give_independent_draws() -> None:
    numbers = np.arange(10_000, dtype=np.uint64)
    first = Draws(0, 1000).rows(numbers)
    for other in (Draws(1, 1000).rows(numbers), Draws(0, 1000).rows(numbers, attempt=1)):
        assert 0 <= (first == other).sum() < 30  # 10 expected
    assert (Draws(0, 1000).rows(numbers[500:]) == first[500:]).all()


def test_draws_stay_what_they_are() -> None:
    """Another order of samples is another recipe: raise FEED_VERSION when this changes."""
    draws, numbers = Draws(7, 1_000_000), np.array([0, 1, 2**40], np.uint64)
    assert draws.rows(numbers).tolist() == [265813, 106353, 881840]
    assert draws.transform_seeds(numbers).tolist() == [2929181525441238487, 6132961138255832500, 6544016686213630420]


def test_a_repeat_in_the_subset_is_drawn_more_often() -> None:
    population = 40  # as many rows as samples, repeats counted
    rows = Draws(0, population).rows(np.arange(40_000, dtype=np.uint64))
    thrice = np.isin(rows, [37, 38, 39]).sum()
    assert abs(thrice - 3000) < 4 * np.sqrt(3000)


def test_batches_do_not_depend_on_the_number_of_loader_workers(shards: SubsetShards, recipe) -> None:
    alone = epochs(shards, recipe, workers=0)
    assert equal(alone, epochs(shards, recipe, workers=2))
    assert equal(alone, epochs(shards, recipe, workers=1))
    assert not torch.equal(alone[0], alone[3])


def test_an_epoch_that_is_resumed_gives_the_same_batches(shards: SubsetShards, recipe) -> None:
    assert equal(epochs(shards, recipe, workers=0)[3:], epochs(shards, recipe, workers=0, first=1))


def test_ranks_share_the_same_global_batch(shards: SubsetShards, recipe) -> None:
    whole, tokens = batches(shards, recipe)[5]
    parts = [batches(shards, recipe, batch_size=4, rank=rank, world_size=2)[5] for rank in (0, 1)]
    assert torch.equal(whole, torch.cat([images for images, _ in parts]))
    assert torch.equal(tokens, torch.cat([own for _, own in parts]))


def test_the_seed_decides_and_kept_images_change_nothing(shards: SubsetShards, recipe) -> None:
    cached = batches(shards, recipe, memory=1 << 20)
    first = [cached[step][0] for step in range(6)]
    assert equal(first, [batches(shards, recipe)[step][0] for step in range(6)])
    assert equal(first, [cached[step][0] for step in range(6)])
    assert not equal(first, [batches(shards, recipe, seed=1)[step][0] for step in range(6)])


def test_images_and_tokens_are_what_the_trainers_transform_and_tokenizer_give(shards: SubsetShards, recipe) -> None:
    transform, tokenizer = recipe
    assert SplitTransform.of(transform).values is not None
    images, tokens = batches(shards, recipe)[2]
    draws, numbers = Draws(0, shards.samples), np.arange(16, 24, dtype=np.uint64)
    for place, (row, seed) in enumerate(zip(draws.rows(numbers), draws.transform_seeds(numbers), strict=True)):
        image, caption = Reader(shards).read(int(row))
        torch.manual_seed(int(seed))
        assert torch.equal(images[place], transform(image))
        assert torch.equal(tokens[place], tokenizer(caption)[0])


def test_the_feed_leaves_the_models_generators_alone(shards: SubsetShards, recipe) -> None:
    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(1), random.random()
    torch.manual_seed(5)
    random.seed(5)
    batches(shards, recipe)[0]
    assert (torch.rand(1), random.random()) == expected


def damage(shards: SubsetShards, to: Path, rows: list[int]) -> SubsetShards:
    """A copy of the shards in which some images are noise."""
    to.mkdir()
    for path in shards.directory.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    copy = SubsetShards(to, shards.samples, shards.shards)
    for row in rows:
        place = copy.index[row]
        with copy.tar(int(place["shard"])).open("r+b") as tar:
            tar.seek(int(place["image_offset"]))
            tar.write(b"noise" * (int(place["image_size"]) // 5))
    return copy


def test_a_sample_that_cannot_be_decoded_is_drawn_again_the_same_way(
    shards: SubsetShards, recipe, tmp_path: Path
) -> None:
    drawn = Draws(0, shards.samples).rows(np.arange(8, dtype=np.uint64))
    harmed = damage(shards, tmp_path / "harmed", [int(drawn[3])])
    images, good = batches(harmed, recipe)[0][0], batches(shards, recipe)[0][0]
    same = [torch.equal(a, b) for a, b in zip(images, good, strict=True)]
    assert same == [row != drawn[3] for row in drawn]
    assert torch.equal(images, batches(harmed, recipe)[0][0])


def test_shards_of_nothing_but_noise_end_in_a_typed_fault(shards: SubsetShards, recipe, tmp_path: Path) -> None:
    harmed = damage(shards, tmp_path / "harmed", list(range(shards.samples)))
    with pytest.raises(PlatformFault) as caught:
        batches(harmed, recipe)[0]
    assert caught.value.problems[0].code == "subset-undecodable"


def test_a_reader_keeps_few_tars_open(shards: SubsetShards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datacomp_worker.training.reader.OPEN_TARS", 1)
    reader = Reader(shards)
    captions = [reader.read(row)[1] for row in (0, 39, 1, 38)]
    assert len(reader._open) == 1
    with tarfile.open(shards.tar(0)) as tar:
        first = next(member for member in tar if member.name.endswith(".txt"))
        assert tar.extractfile(first).read().decode() == captions[0]
