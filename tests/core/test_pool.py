"""Ingestion of an original directory: columns, features, tar places, resumption, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_pool import CAPTIONS, SmallPool

from datacomp.commands.pool import pool_info
from datacomp.pool import Pool, ingest
from datacomp.pool import ingest as ingest_function
from datacomp.pool.npz import members
from datacomp.problems import BadInput, PlatformFault
from datacomp.uids import from_hex, to_hex


def codes(error: pytest.ExceptionInfo[BadInput]) -> set[str]:
    return {problem.code for problem in error.value.problems}


def test_columns_follow_the_metadata_row_by_row(pool: Pool) -> None:
    texts = [text for shard in range(3) for text in pool.metadata_column("text", shard).to_pylist()]
    assert texts == [CAPTIONS[i % len(CAPTIONS)] for i in range(60)]
    assert list(pool.column("words")) == [len(text.split()) for text in texts]
    assert list(pool.column("characters")) == [len(text) for text in texts]
    expected = np.concatenate(
        [pq.read_table(pool.metadata_file(s)).column("clip_l14_similarity_score").to_numpy() for s in range(3)]
    )
    column = pool.column("clip_l14_similarity_score")
    assert column.dtype == np.float32
    assert np.array_equal(column, expected)
    vocabulary = pool.vocabulary("lang")
    languages = [(*vocabulary, "")[code] for code in pool.column("lang")]
    assert languages[:4] == ["en", "fr", "de", "en"]


def test_uids_sort_and_find_their_rows(pool: Pool) -> None:
    assert to_hex(pool.sorted_uids) == sorted(to_hex(pool.uids))
    assert list(pool.rows_of(np.asarray(pool.uids)[[7, 3]])) == [7, 3]
    assert list(pool.rows_of(from_hex(["f" * 32]))) == [-1]


def test_features_are_mapped_where_they_lie(pool: Pool) -> None:
    for shard in range(3):
        with np.load(pool.metadata_file(shard).with_suffix(".npz")) as arrays:
            assert np.array_equal(pool.features("l14_img", shard), arrays["l14_img"])
    rows = np.array([0, 21, 22, 59])
    whole = np.concatenate([pool.features("b32_txt", shard) for shard in range(3)])
    assert np.array_equal(pool.gather("b32_txt", rows), whole[rows])
    with pytest.raises(BadInput, match="feature-unknown"):
        pool.features("h14_img", 0)


def test_tar_places_point_at_image_and_caption(pool: Pool) -> None:
    assert list(np.flatnonzero(~pool.available)) == [0, 1]
    for row in (2, 25, 59):
        data = pool.tar_file(int(pool.column("tar")[row])).read_bytes()
        at, size = int(pool.column("text_offset")[row]), int(pool.column("text_size")[row])
        assert data[at : at + size].decode() == CAPTIONS[row % len(CAPTIONS)]
        at = int(pool.column("image_offset")[row])
        assert data[at : at + 2] == b"\xff\xd8"


def test_ingesting_again_changes_nothing_and_a_changed_source_changes_the_digest(tmp_path: Path) -> None:
    SmallPool(rows=12).write(tmp_path)
    first = ingest(tmp_path, processes=2)
    manifest = tmp_path / "pack" / "manifest.json"
    stamp, there = manifest.stat().st_mtime_ns, int(first.available.sum())
    assert ingest(tmp_path).manifest == first.manifest
    assert manifest.stat().st_mtime_ns == stamp
    (tmp_path / "shards" / "00000002.tar").unlink()
    again = ingest(tmp_path)
    assert again.manifest.digest != first.manifest.digest
    assert again.available.sum() == there - 4


def test_the_same_directory_gives_the_same_pack_with_any_number_of_processes(tmp_path: Path) -> None:
    SmallPool(rows=20).write(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert ingest(tmp_path / "a", processes=1).manifest == ingest(tmp_path / "b", processes=2).manifest


def test_an_interrupted_ingestion_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datacomp.pool import join, language

    SmallPool(rows=12).write(tmp_path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(join, "_write_places", stop)
        with pytest.raises(KeyboardInterrupt):
            ingest_function(tmp_path, processes=1)
    with pytest.raises(BadInput, match="pool-not-ingested"):
        Pool.open(tmp_path)
    with monkeypatch.context() as patch:  # nothing is computed again
        patch.setattr(language, "identify", stop)
        assert ingest_function(tmp_path, processes=1).rows == 12


def test_every_broken_source_is_named(tmp_path: Path) -> None:
    SmallPool(rows=30).write(tmp_path)
    (tmp_path / "metadata" / "00000000.parquet").write_bytes(b"PAR1 no")
    npz = tmp_path / "metadata" / "00000001.npz"
    npz.write_bytes(npz.read_bytes()[:-2000])
    tar = tmp_path / "shards" / "00000002.tar"
    tar.write_bytes(tar.read_bytes()[:1500])
    with pytest.raises(BadInput) as error:
        ingest(tmp_path, processes=1)
    assert codes(error) == {"parquet-unreadable", "npz-damaged", "tar-damaged"}
    assert not (tmp_path / "pack" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda table: table.drop_columns(["text"]), "parquet-columns"),
        (lambda table: table.set_column(0, "uid", pa.array(["xyz"] * len(table))), "uid-malformed"),
        (lambda table: table.append_column("extra", pa.array([1.0] * len(table))), "pool-mixed-schemas"),
        (lambda table: pa.concat_tables([table.slice(0, len(table) - 1), table.slice(0, 1)]), "pool-uid-twice"),
        (lambda table: table.slice(1), "npz-rows"),
    ],
)
def test_bad_metadata_is_refused(tmp_path: Path, change, code: str) -> None:
    SmallPool(rows=12).write(tmp_path)
    path = tmp_path / "metadata" / "00000001.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(BadInput) as error:
        ingest(tmp_path, processes=1)
    assert codes(error) == {code}


def test_an_npz_of_any_bytes_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    np.savez(path, a=np.arange(6, dtype=np.float16).reshape(2, 3), b=np.arange(3))
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), []
    for turn in range(400):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(0, len(data))] if turn % 5 == 0 else data)
        try:
            assert len(members(path)) <= 2
        except BadInput as error:
            refused.append(error.problems[0].code)
    assert set(refused) <= {"npz-damaged", "npz-compressed", "npz-truncated"}
    assert len(refused) > 200


def test_a_directory_that_is_no_pool_and_a_damaged_pack(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="pool-empty"):
        ingest(tmp_path)
    SmallPool(rows=6).write(tmp_path / "p")
    ingest(tmp_path / "p", processes=1)
    column = tmp_path / "p" / "pack" / "columns" / "words.npy"
    column.write_bytes(column.read_bytes()[:40])
    with pytest.raises(PlatformFault, match="pool-pack-damaged"):
        Pool.open(tmp_path / "p").column("words")
    (tmp_path / "p" / "pack" / "manifest.json").write_text(json.dumps({"rows": "many"}))
    with pytest.raises(PlatformFault, match="pool-pack-damaged"):
        Pool.open(tmp_path / "p")


def test_info_says_what_there_is(pool: Pool) -> None:
    text = "\n".join(pool_info(pool.directory).lines())
    assert "60 in 3 metadata files" in text
    assert "58 in 3 tars (2 not on this site)" in text
    assert pool.manifest.digest in text
