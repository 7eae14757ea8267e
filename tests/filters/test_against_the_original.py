"""The original's baselines by name keep, byte for byte, what its own code kept: golden.json has the digests.

`benchmarks/filters/golden.py` made them by running the original's `baselines.py` over pools of odd cases
(tests/support/odd_pool.py): ties at the threshold, NaN, exotic white space, empty captions, sides of nothing, uids with
leading zeros. Where the original fails or keeps nothing by accident, what is sane is said below.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_pool import OddPool

from datacomp.commands.filter import run_filter
from datacomp.digests import digest_file
from datacomp.pool import Extras, Pool, ingest
from datacomp.pool.language import packaged_model

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.fixture(scope="module", params=sorted(GOLDEN["pools"]))
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pool, list[dict]]:
    """A pool of odd cases, ingested with everything, and what the original did with it."""
    described = GOLDEN["pools"][request.param]
    directory = tmp_path_factory.mktemp(request.param)
    OddPool(**described["made"]).write(directory)
    assets = directory / "assets"
    extras = Extras(
        cld3=True,
        wordnet=assets / "wordnet",
        synsets=assets / "synsets.txt",
        centroids=assets / "centroids.npy",
    )
    return ingest(directory, processes=1, extras=extras), described["cases"]


def parameters(pool: Pool, case: dict[str, Any]) -> dict[str, str]:
    assets = pool.directory / "assets"
    files = {"targets": str(assets / "targets.npy"), "centroids": str(assets / "centroids.npy")}
    return case["options"] | (files if "image_based" in case["filter"] else {})


def test_the_same_language_model_judged_the_captions() -> None:
    assert digest_file(packaged_model()) == GOLDEN["language_model"]


def test_every_baseline_writes_the_file_that_the_original_writes(
    golden: tuple[Pool, list[dict]], tmp_path: Path
) -> None:
    pool, cases = golden
    out = tmp_path / "uids.npy"
    compared, different = 0, []
    for case in cases:
        if "fails" in case or case.get("all_lost"):
            continue
        done = run_filter(case["filter"], pool.directory, out, parameters(pool, case))
        if (done.rows_kept, hashlib.sha256(out.read_bytes()).hexdigest()) != (case["rows"], case["sha256"]):
            different.append((case["filter"], case["options"], case["rows"], done.rows_kept))
        compared += 1
    assert different == []
    assert compared >= 20


def test_a_whole_fraction_keeps_all_where_the_original_overruns(
    golden: tuple[Pool, list[dict]], tmp_path: Path
) -> None:
    pool, cases = golden
    overrun = [case for case in cases if case["options"].get("fraction") == "1.0"]
    assert {case["filter"] for case in overrun} >= {"clip_score"}
    for case in overrun:
        assert "IndexError" in case["fails"]
        done = run_filter(case["filter"], pool.directory, tmp_path / "uids.npy", parameters(pool, case))
        if case["filter"] == "clip_score":
            scores = np.asarray(pool.column(f"clip_{case['options']['arch']}_similarity_score"))
            assert done.rows_kept == int((~np.isnan(scores)).sum())
            assert done.nan_scores == int(np.isnan(scores).sum())


def test_a_threshold_among_the_missing_keeps_what_has_a_score(tmp_path: Path) -> None:
    """The original's threshold is then NaN, and it keeps nothing; we keep every row that has a score."""
    described = GOLDEN["pools"]["odd"]
    lost = [case for case in described["cases"] if case.get("all_lost")]
    assert {case["rows"] for case in lost} == {0}
    assert {case["options"]["fraction"] for case in lost} == {"0.999"}
    OddPool(**described["made"]).write(tmp_path)
    pool = ingest(tmp_path, processes=1, extras=Extras(language=False))
    for case in (case for case in lost if case["filter"] == "clip_score"):
        done = run_filter("clip_score", tmp_path, tmp_path / "uids.npy", case["options"])
        assert done.rows_kept == pool.rows - done.nan_scores
        assert done.nan_scores == pool.rows // 50
