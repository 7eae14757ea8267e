"""Named filters: rules worked out by hand, what they need of a pool, and the command line around them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from odd_pool import OddPool
from small_pool import SmallPool

from datacomp.cli import build, build_light
from datacomp.commands.filter import run_filter
from datacomp.pool import Extras, Pool, ingest
from datacomp.problems import BadInput
from datacomp.uids import from_hex, open_subset, sort
from datacomp_filters.basic_filter import well_shaped


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    directory = tmp_path_factory.mktemp("odd")
    OddPool(rows=200, shards=2).write(directory)
    assets = directory / "assets"
    extras = Extras(wordnet=assets / "wordnet", synsets=assets / "synsets.txt", centroids=assets / "centroids.npy")
    return ingest(directory, processes=1, extras=extras)


def test_basic_filter_by_hand(tmp_path: Path) -> None:
    english = "a photo of a small dog in the park"
    texts = [english, english, "une photo d'un petit chien dans le parc", "a dog", english, english, english, english]
    widths, heights = [200, 199, 500, 500, 600, 601, 0, 3000], [200, 500, 500, 500, 200, 200, 0, 1000]
    overrides = {"text": texts, "original_width": widths, "original_height": heights}
    uids = SmallPool(rows=8, overrides=overrides).write(tmp_path)
    ingest(tmp_path, processes=1)
    run_filter("basic_filter", tmp_path, tmp_path / "u.npy", {})
    assert np.array_equal(open_subset(tmp_path / "u.npy"), sort(from_hex([uids[0], uids[4], uids[7]])))


def test_unknown_sides_are_not_well_shaped() -> None:
    sides = np.array([np.nan, 300.0, 0.0, np.inf, 300.0])
    assert list(well_shaped(sides, np.array([300.0, np.nan, 0.0, 300.0, 900.0]))) == [False, False, False, False, True]


def test_image_based_counts_what_both_rules_keep(odd: Pool, tmp_path: Path) -> None:
    assets = odd.directory / "assets"
    files = {"targets": str(assets / "targets.npy"), "centroids": str(assets / "centroids.npy")}
    out = tmp_path / "u.npy"
    run_filter("image_based", odd.directory, out, files)
    images = set(open_subset(out).tolist())
    run_filter("clip_score", odd.directory, out, {"fraction": "0.5"})
    both = images & set(open_subset(out).tolist())
    run_filter("image_based_intersect_clip_score", odd.directory, out, files | {"fraction": "0.5"})
    assert 0 < len(both) < len(images)
    assert set(open_subset(out).tolist()) == both


def test_other_centroids_than_the_pools_are_refused(odd: Pool, tmp_path: Path) -> None:
    assets = odd.directory / "assets"
    np.save(tmp_path / "other.npy", np.load(assets / "centroids.npy") * 2)
    parameters = {"targets": str(assets / "targets.npy"), "centroids": str(tmp_path / "other.npy")}
    with pytest.raises(BadInput, match="centroids-other"):
        run_filter("image_based", odd.directory, tmp_path / "u.npy", parameters)
    (tmp_path / "c.npy").write_bytes(b"PK a torch file")
    with pytest.raises(BadInput, match="centroids-format"):
        run_filter(
            "image_based", odd.directory, tmp_path / "u.npy", parameters | {"centroids": str(tmp_path / "c.npy")}
        )
    np.save(tmp_path / "flat.npy", np.ones(5))
    with pytest.raises(BadInput, match="targets-shape"):
        run_filter("image_based", odd.directory, tmp_path / "u.npy",
                   {"targets": str(tmp_path / "flat.npy"), "centroids": str(assets / "centroids.npy")})  # fmt: skip


def test_what_a_pool_was_not_ingested_with_is_said(odd: Pool, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"column-unknown.*'lang_cld3'.*--cld3"):
        run_filter("laion2b", odd.directory, tmp_path / "u.npy", {})
    run_filter("laion2b", odd.directory, tmp_path / "u.npy", {"language": "lang"})
    scores = np.asarray(odd.column("clip_b32_similarity_score"))
    english = odd.is_text("lang", "en")
    assert len(open_subset(tmp_path / "u.npy")) == int((english & (scores >= np.float32(0.28))).sum())
    with pytest.raises(BadInput, match="column-not-text"):
        run_filter("laion2b", odd.directory, tmp_path / "u.npy", {"language": "words"})


@pytest.mark.parametrize(
    "parameters", [{}, {"threshold": "1", "fraction": "1"}, {"fraction": "1.5"}, {"arch": "h14", "fraction": "0.3"}]
)
def test_parameters_that_make_no_clip_score(odd: Pool, tmp_path: Path, parameters: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="filter-parameter"):
        run_filter("clip_score", odd.directory, tmp_path / "u.npy", parameters)


def test_the_command_line_writes_the_subset_and_starts_light(odd: Pool, tmp_path: Path) -> None:
    out = tmp_path / "uids.npy"
    options = ["--arch", "l14", "--fraction", "0.3", "--pool", str(odd.directory), "--out", str(out)]
    program = "import sys, datacomp.cli as c; c.build_light()(standalone_mode=False);"
    program += "print(sorted({'pyarrow', 'httpx', 'torch', 'fastapi'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program, "filter", "clip_score", *options], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("[]")
    run_filter("clip_score", odd.directory, tmp_path / "same.npy", {"arch": "l14", "fraction": "0.3"})
    assert out.read_bytes() == (tmp_path / "same.npy").read_bytes()


def test_light_commands_are_those_of_the_whole_command_line() -> None:
    whole = {command.callback for command in build().registered_commands}
    assert {command.callback for command in build_light().registered_commands} <= whole
