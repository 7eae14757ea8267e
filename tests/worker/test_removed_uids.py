"""Samples that were removed from a pool on request are not trained with, on sites with images and without."""

from pathlib import Path

import numpy as np
import pytest
from small_pool import SmallPool
from stage_job import stage_context

from datacomp.messages import SUBSET_FILE, Stage, SubsetResult
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput
from datacomp.uids import read_subset, sort, to_hex, write_subset
from datacomp_worker.stages import subset
from datacomp_worker.stages.base import StageContext


@pytest.fixture(scope="module", params=["with images", "metadata alone"])
def pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    directory = tmp_path_factory.mktemp("pool") / "small"
    SmallPool(rows=60, shards=3, features=False).write(directory)
    if request.param == "metadata alone":
        for tar in (directory / "shards").iterdir():
            tar.unlink()
    return ingest(directory, processes=1)


def context(pool: Pool, folder: Path, removed: list[str], rows: list[int]) -> StageContext:
    given = folder / "given.npy"
    write_subset(given, sort(np.asarray(pool.uids)[rows]))
    made = stage_context(Stage.SUBSET, folder, {SUBSET_FILE: given}, pool_dir=pool.directory)
    made.job.removed.extend(removed)
    return made


def test_removed_samples_are_left_out_and_counted_with_their_repeats(pool: Pool, tmp_path: Path) -> None:
    hexes = to_hex(np.asarray(pool.uids))
    job = context(pool, tmp_path, [hexes[30], "f" * 32, hexes[2]], [2, 30, 30, 30, 41, 59])
    done = subset.run(job)
    assert isinstance(done.result, SubsetResult)
    assert done.result.removed == 4
    assert done.result.removed_uids == sorted([hexes[2], hexes[30]])
    assert done.result.pool_digest == pool.manifest.digest
    assert set(to_hex(read_subset(done.files[SUBSET_FILE]))) <= {hexes[41], hexes[59]}


def test_a_subset_of_removed_samples_alone_is_refused(pool: Pool, tmp_path: Path) -> None:
    hexes = to_hex(np.asarray(pool.uids))
    with pytest.raises(BadInput, match="subset-removed"):
        subset.run(context(pool, tmp_path, [hexes[5]], [5, 5]))
