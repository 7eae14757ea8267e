"""Resharding an ingested pool: the same bytes as from its tars alone; tars that are not as ingested are named."""

import contextlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from reshard_site import Site, bytes_of, from_pool, refused_by

from datacomp.pool import ingest
from datacomp.reshard import pack, reshard_pool
from datacomp.tars.samples import uid_of
from datacomp.uids import to_hex


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_the_packs_places_give_the_same_bytes_as_reading_the_tars(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    subset = site.subset(3, 4, 17, 17, 30, 39, more=["0" * 32])
    read = site.reshard(subset, shard_size=4)
    monkeypatch.setattr(pack, "index_tar", None)  # no tar is read as a whole
    made = from_pool(site, subset, "pool-out", shard_size=4)
    assert made == read
    assert bytes_of(site.place / "pool-out") == bytes_of(site.place / "out")


def rewritten(path: Path, change) -> None:
    """Write a tar again with `change` of its list of (name, data)."""
    with tarfile.open(path) as tar:
        files = [(member.name, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w") as tar:
        for name, data in change(files):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_files_before_the_image_are_not_lost(site: Site) -> None:
    def json_first(files):
        return sorted(files, key=lambda file: (file[0].partition(".")[0], not file[0].endswith("json")))

    def with_more(files):
        return sorted([*files, *((f"{name}.aa", b"more") for name in {n.partition(".")[0] for n, _ in files})])

    rewritten(site.shards / "00000000.tar", json_first)
    rewritten(site.shards / "00000001.tar", with_more)
    subset = site.subset(1, 3, 11, 12, 25)
    from_pool(site, subset, "pool-out")
    site.reshard(subset)
    assert bytes_of(site.place / "pool-out") == bytes_of(site.place / "out")
    assert sum(name.endswith(".aa") for name in site.files("pool-out")) == 2


def test_a_tar_that_is_not_as_ingested_is_named(site: Site) -> None:
    subset = site.subset(1, 2, 30)
    pool = ingest(site.place / "pool", processes=1)
    tar = site.shards / "00000000.tar"
    swapped = tar.read_bytes()
    uid, other = (to_hex(site.uids[row : row + 1])[0].encode() for row in (1, 3))
    tar.write_bytes(swapped.replace(uid, other))
    call = lambda: reshard_pool(pool, subset, site.place / "o", cache=site.place / "cache")  # noqa: E731
    assert (refused_by(call).code, refused_by(call).where) == ("tar-changed", str(tar))
    tar.write_bytes(swapped[:-512])
    assert "bytes when it was ingested" in refused_by(call).message
    tar.unlink()
    problem = refused_by(call)
    assert (problem.code, problem.where) == ("tar-missing", str(tar))
    assert "restore" in problem.hint


# --- tars that change on the way


@pytest.mark.parametrize("harm", ["gone", "written again"])
def test_a_tar_that_changes_between_index_and_copy_is_named(site: Site, harm: str) -> None:
    tar = site.shards / "00000001.tar"
    data = tar.read_bytes()

    def spoil(what: str, done: float, total: float) -> None:
        if (what, done) == ("writing", 0):
            tar.unlink()
            if harm == "written again":
                tar.write_bytes(data)
                os.utime(tar, ns=(0, 5))

    subset = site.subset(1, 11, 30)
    problem = refused_by(lambda: site.reshard(subset, report=spoil))
    assert (problem.code, problem.where) == ("tar-missing" if harm == "gone" else "tar-changed", str(tar))
    assert not (site.place / "out/meta.json").exists()
    assert not list((site.place / "out").glob("0*"))


def test_an_index_older_than_its_tar_is_not_used(site: Site) -> None:
    subset = site.subset(1, 11)
    site.reshard(subset)
    rewritten(site.shards / "00000000.tar", lambda files: files[3:] + files[:3])
    made = site.reshard(subset, "again")
    assert made.output_count == 2
    assert site.files("again") == site.files()


@pytest.mark.parametrize(
    ("about", "uid"),
    [
        (b'{"uid": "%s", "key": "1"}', "a"),
        (b'{"key": "1", "uid": "%s"}', "a"),
        (b'{"uid":"%s"}', "a"),
        (b'{ "key": {"uid": "%s"} }', None),
        (b'{"key": {"uid": "' + b"b" * 32 + b'"}, "uid": "%s"}', "a"),
        (b'{"uid": "' + b"b" * 32 + b'", "uid" : "%s"}', "a"),
        (b'{"text": "\\"uid\\": \\"' + b"b" * 32 + b'\\"", "uid": "%s"}', "a"),
        (b'[{"uid": "%s"}]', None),
        (b'{"uid": "%sa"}', None),
        (b'{"uid": 5, "x": "%s"}', None),
        (b'{"uid": "%s"', None),
        (b"", None),
    ],
)
def test_the_uid_is_the_one_that_a_json_parser_finds(about: bytes, uid: str | None) -> None:
    text = about.replace(b"%s", b"a" * 32)
    assert uid_of(text) == (uid * 32).encode() if uid else uid_of(text) is None
    with contextlib.suppress(ValueError, TypeError, KeyError):
        assert (uid_of(text) or b"").decode() == (json.loads(text)["uid"] if uid else "")
