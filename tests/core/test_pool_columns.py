"""What the pack computes: figures of captions, WordNet, clusters; groups that come later; columns that are added."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_pool import OddPool
from small_pool import SmallPool
from tiny_wordnet import write_wordnet

from datacomp.commands.pool import pool_info
from datacomp.digests import digest_file
from datacomp.filtering.threshold import kth_largest
from datacomp.pool import Extras, Pool, add_column, ingest
from datacomp.pool.clusters import nearest
from datacomp.pool.text import Captions
from datacomp.pool.wordnet import WordNet
from datacomp.problems import BadInput

PLAIN = Extras(language=False)
SPACES = [chr(i) for i in range(0x3001) if chr(i).isspace()]
texts = st.lists(st.text(st.sampled_from([*SPACES, "\0", "\u200b", "a", "é", "犬", "\U0001f436"]), max_size=12))


# --- captions


def fasttext_tokens(text: str) -> int:
    """fastText's reader in its own terms, byte by byte."""
    count, inside = 0, False
    for byte in text.encode():
        if byte == 0x0A:
            count += 1
        inside_now = byte not in b" \n\r\t\v\f\0"
        count += inside_now and not inside
        inside = inside_now
    return count


@settings(max_examples=200, deadline=None)
@given(texts, st.integers(0, 12))
def test_figures_of_captions_are_what_python_and_fasttext_say(captions: list[str], cut: int) -> None:
    column = pa.chunked_array([pa.array(captions[:cut], pa.string()), pa.array(captions[cut:], pa.string())])
    figures = Captions.of(column)
    words, tokens = figures.words_and_tokens()
    assert list(words) == [len(text.split()) for text in captions]
    assert list(tokens) == [fasttext_tokens(text) for text in captions]
    assert list(figures.characters()) == [len(text) for text in captions]
    hashes = dict(zip(captions, figures.hashes().tolist(), strict=True))
    assert len(set(hashes.values())) == len(hashes)
    alone = Captions.of(pa.chunked_array([pa.array(captions[::-1], pa.string())])).hashes()
    assert [hashes[text] for text in captions[::-1]] == alone.tolist()


def test_missing_captions_and_slices_and_hashes_that_never_change() -> None:
    column = pa.chunked_array([pa.array(["x", None, "a b", "c"]).slice(1)])
    figures = Captions.of(column)
    assert list(figures.words_and_tokens()[0]) == [0, 2, 1]
    assert len(set(Captions.of(pa.chunked_array([["dog" * 9, "dog" * 10]])).hashes(16).tolist())) == 1
    assert Captions.of(pa.chunked_array([["", "dog", "a photo of a dog in the park"]])).hashes().tolist() == HASHES


HASHES = [0, 12240363175991363955, 7723528994848675434]


# --- WordNet


def test_words_are_found_by_their_first_synset(tmp_path: Path) -> None:
    write_wordnet(tmp_path / "wordnet")
    (tmp_path / "all.txt").write_text("n00000000\n")
    matcher = WordNet.at(tmp_path / "wordnet", tmp_path / "all.txt").load()
    first = matcher.first_synset
    assert first("dog") == first("DOGS") == first("run") == first("ran")  # noun and verb at one offset
    assert first("geese") == first("goose") != first("house")
    assert first("axes") == first("axis")  # the exception list's order
    assert first("men") == first("man")
    assert first("park") == first("garden")  # its most frequent sense
    assert first("bigger") == first("big")
    assert [first(word) for word in ("", "dog,", "the", "nothing", "\0")] == [None] * 5
    began = time.monotonic()
    assert first("eses" * 50) is None
    assert time.monotonic() - began < 5


def test_wordnet_files_that_are_not_there_or_damaged(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("n02084071\ndog\n")
    with pytest.raises(BadInput, match="wordnet-missing"):
        WordNet.at(tmp_path, tmp_path / "list.txt")
    write_wordnet(tmp_path / "w")
    with pytest.raises(BadInput, match="synsets-missing"):
        WordNet.at(tmp_path / "w", tmp_path / "none.txt")
    with pytest.raises(BadInput, match=r"synsets-malformed.*list.txt: line 2"):
        WordNet.at(tmp_path / "w", tmp_path / "list.txt").load()
    index = tmp_path / "w" / "index.verb"
    index.write_text(index.read_text() + "half a line\n")
    (tmp_path / "list.txt").write_text("n02084071\n")
    with pytest.raises(BadInput, match=r"wordnet-damaged.*index.verb: line 10"):
        WordNet.at(tmp_path / "w", tmp_path / "list.txt").load()
    with pytest.raises(BadInput, match="wordnet-incomplete"):
        Extras(language=False, wordnet=tmp_path / "w").recipe()


# --- clusters


def test_the_nearest_centroid_is_exact_and_ties_go_to_the_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    centroids = rng.standard_normal((50, 64)).astype(np.float32)
    centroids[[30, 49]] = centroids[[2, 5]]
    features = np.concatenate([rng.standard_normal((500, 64)), centroids, np.full((1, 64), np.nan)]).astype(np.float16)
    exact = features.astype(np.float64) @ centroids.astype(np.float64).T
    expected = exact.argmax(axis=1)
    found = nearest(features, centroids)
    assert np.array_equal(found, expected)
    assert not np.isin(found, [30, 49]).any()
    monkeypatch.setattr("datacomp.pool.clusters.BLOCK", 700)
    assert np.array_equal(nearest(features, centroids), expected)
    with pytest.raises(BadInput, match="centroids-width"):
        nearest(features[:, :32], centroids)


# --- groups


def test_a_group_asked_for_later_joins_the_rest_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    OddPool(rows=300, shards=3).write(tmp_path)
    assets = tmp_path / "assets"
    first = ingest(tmp_path, processes=1, extras=PLAIN)
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pack" / "columns").glob("*.npy")}
    with pytest.raises(BadInput, match=r"column-unknown.*--centroids"):
        first.require_columns(["cluster"])
    assert "not computed" in "\n".join(pool_info(tmp_path).lines())
    extras = Extras(False, None, True, assets / "wordnet", assets / "synsets.txt", assets / "centroids.npy")
    second = ingest(tmp_path, processes=1, extras=extras)
    assert {"lang_cld3", "wordnet_hit", "cluster"} <= second.names
    assert second.manifest.digest != first.manifest.digest
    assert {n: (tmp_path / "pack" / "columns" / n).stat().st_mtime_ns for n in stamps} == stamps
    assert ingest(tmp_path, processes=1, extras=PLAIN).manifest == second.manifest  # nothing is taken away
    whole = tmp_path / "pack"
    whole.rename(tmp_path / "aside")
    assert ingest(tmp_path, processes=1, extras=extras).manifest.columns == second.manifest.columns


def test_clusters_need_features_and_metadata_may_not_take_our_names(tmp_path: Path) -> None:
    SmallPool(rows=6, features=False).write(tmp_path / "a")
    np.save(tmp_path / "c.npy", np.ones((2, 768), np.float32))
    with pytest.raises(BadInput, match=r"clusters-feature.*00000000.npz"):
        ingest(tmp_path / "a", processes=1, extras=Extras(language=False, centroids=tmp_path / "c.npy"))
    SmallPool(rows=6, overrides={"words": list(range(6))}).write(tmp_path / "b")
    with pytest.raises(BadInput, match="parquet-columns-taken"):
        ingest(tmp_path / "b", processes=1, extras=PLAIN)


def test_a_pool_without_tars_stores_no_places_and_odd_names_stay_in_the_metadata(tmp_path: Path) -> None:
    SmallPool(rows=6, overrides={"../x": list(range(6)), "half": np.arange(6, dtype=np.float16)}).write(tmp_path)
    for path in (tmp_path / "shards").glob("*.tar"):
        path.unlink()
    pool = ingest(tmp_path, processes=1, extras=PLAIN)
    assert not (tmp_path / "pack" / "columns" / "tar.npy").exists()
    assert not pool.available.any()
    assert list(pool.column("image_offset")) == [0] * 6
    assert pool.manifest.column("../x") is None
    assert "../x" in pool.names
    assert pool.column("half").dtype == np.float32
    assert pool.column("image_hash").dtype == np.uint64


def test_an_empty_shard_is_a_shard(tmp_path: Path) -> None:
    SmallPool(rows=6, features=False).write(tmp_path)
    path = tmp_path / "metadata" / "00000001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    pool = ingest(tmp_path, processes=1)
    assert [shard.rows for shard in pool.manifest.shards] == [2, 0, 2]
    assert pool.column("lang").shape == (4,)


def test_a_damaged_pack_is_made_again(tmp_path: Path) -> None:
    SmallPool(rows=6).write(tmp_path)
    first = ingest(tmp_path, processes=1, extras=PLAIN)
    column = tmp_path / "pack" / "columns" / "words.npy"
    column.write_bytes(column.read_bytes()[:100])
    assert ingest(tmp_path, processes=1, extras=PLAIN).manifest == first.manifest
    (tmp_path / "pack" / "manifest.json").write_text("{")
    assert ingest(tmp_path, processes=1, extras=PLAIN).manifest == first.manifest
    assert digest_file(column) == first.manifest.column("words").digest


def test_an_ingestion_killed_in_the_middle_goes_on(tmp_path: Path) -> None:
    SmallPool(rows=4000, shards=40, features=False).write(tmp_path)
    for path in (tmp_path / "shards").glob("*.tar"):
        path.unlink()
    command = [sys.executable, "-m", "datacomp", "pool", "ingest", str(tmp_path), "--processes", "1"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = tmp_path / "pack" / "parts"
    until = time.monotonic() + 60
    while time.monotonic() < until and child.poll() is None and len(list(parts.glob("*.npz"))) < 10:
        time.sleep(0.001)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("*.npz")}
    assert 10 <= len(kept) < 80  # 40 files, two groups each
    with pytest.raises(BadInput, match="pool-not-ingested"):
        Pool.open(tmp_path)
    seen: list[tuple[float, float]] = []
    again = ingest(tmp_path, processes=1, report=lambda what, done, total: seen.append((done, total)))
    assert seen[0][0] > 0  # begins where it stopped
    assert seen[-1] == (4000, 4000)
    assert again.rows == 4000
    assert not parts.exists()


# --- added columns


def scores_file(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_added_scores_stand_at_their_rows(tmp_path: Path) -> None:
    uids = SmallPool(rows=8).write(tmp_path)
    pool = ingest(tmp_path, processes=1, extras=PLAIN)
    words = (tmp_path / "pack" / "columns" / "words.npy").stat().st_mtime_ns
    file = scores_file(tmp_path / "s.parquet", uid=[uids[5], uids[0]], aesthetic=pa.array([0.5, 2], pa.float32()))
    (column,) = add_column(tmp_path, file)
    assert (column.name, column.dtype, column.added) == ("aesthetic", "float32", True)
    values = Pool.open(tmp_path).column("aesthetic")
    assert (values[0], values[5], int(np.isnan(values).sum())) == (2, 0.5, 6)
    digest = Pool.open(tmp_path).manifest.digest
    assert digest != pool.manifest.digest
    assert (tmp_path / "pack" / "columns" / "words.npy").stat().st_mtime_ns == words
    add_column(tmp_path, file)
    assert Pool.open(tmp_path).manifest.digest == digest
    assert ingest(tmp_path, processes=1, extras=PLAIN).manifest.digest == digest
    add_column(tmp_path, scores_file(tmp_path / "t.parquet", uid=uids, n=list(range(8))), "aesthetic")
    assert list(Pool.open(tmp_path).column("aesthetic")) == list(range(8))
    precise = np.arange(8) + 1e-12
    add_column(tmp_path, scores_file(tmp_path / "d.parquet", uid=uids, precise=precise, large=[1 << 30] * 8))
    assert np.array_equal(Pool.open(tmp_path).column("precise"), precise)
    assert Pool.open(tmp_path).column("large").dtype == np.float64


def test_scores_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    uids = SmallPool(rows=8).write(tmp_path)
    pool = ingest(tmp_path, processes=1, extras=PLAIN)
    path = tmp_path / "s.parquet"
    ones = [1.0, 2.0]
    cases = [
        ({"uid": [uids[3], uids[3]], "a": ones}, None, "scores-uid-twice.*s.parquet: rows 0 and 1"),
        ({"uid": [uids[3], "f" * 32], "a": ones}, None, "uids-unknown.*s.parquet: row 1"),
        ({"uid": [uids[3], "xyz"], "a": ones}, None, "uid-malformed"),
        ({"uid": [1, 2], "a": ones}, None, "uid-malformed"),
        ({"id": uids[:2], "a": ones}, None, "scores-without-uid"),
        ({"uid": uids[:2], "a": ["x", "y"]}, None, "scores-without-column"),
        ({"uid": uids[:2], "a": ones, "b": ones}, "c", "scores-ambiguous"),
        ({"uid": uids[:2], "words": ones}, None, "column-taken"),
        ({"uid": uids[:2], "a": ones}, "original_width", "column-taken"),
        ({"uid": uids[:2], "a": ones}, "../a", "column-name"),
        ({"uid": uids[:2], "a": [1 << 60, 1]}, None, "scores-too-large"),
    ]
    for columns, name, expected in cases:
        with pytest.raises(BadInput, match=expected):
            add_column(tmp_path, scores_file(path, **columns), name)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(BadInput, match="scores-unreadable"):
        add_column(tmp_path, path)
    with pytest.raises(BadInput, match="scores-missing"):
        add_column(tmp_path, tmp_path / "none.parquet")
    assert Pool.open(tmp_path).manifest == pool.manifest


# --- thresholds


def test_the_value_at_a_place_is_that_of_the_sorted_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datacomp.filtering.threshold.SAMPLE", 200)
    monkeypatch.setattr("datacomp.filtering.threshold.MARGIN", 30)
    rng = np.random.default_rng(0)
    spread = rng.standard_normal(3000)
    missing = np.where(rng.random(3000) < 0.3, np.nan, spread)
    for values in (spread, np.round(spread, 1).astype(np.float32), missing, np.zeros(3000), np.sort(spread)):
        ordered = -np.sort(-values)
        for place in (0, 1, 29, 900, 1500, 2098, 2999):
            assert np.array_equal(kth_largest(values, place), ordered[place], equal_nan=True)
