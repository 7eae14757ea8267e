"""Resharding copies like samples many at a time: the bytes are those of copying one by one."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from reshard_site import Site, bytes_of

from datacomp.reshard import write
from datacomp.tars.entries import BLOCK


def make_odd(path: Path) -> None:
    """Of a tar's samples one names its uid late and in capitals, one has a file more, one a long name."""
    with tarfile.open(path) as tar:
        samples: dict[str, list[tuple[str, bytes]]] = {}
        for member in tar:
            stem, _, extension = member.name.partition(".")
            samples.setdefault(stem, []).append((extension, tar.extractfile(member).read()))
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for number, (stem, files) in enumerate(samples.items()):
            more = [("xx", b"more")] if number == 5 else []
            for extension, original in files + more:
                data = late(original) if (number, extension) == (2, "json") else original
                member = tarfile.TarInfo(f"{'long' * 30 if number == 7 else ''}{stem}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def late(about: bytes) -> bytes:
    """A sample's json with its uid last, in capitals."""
    fields = json.loads(about)
    return json.dumps({"key": "1", "uid": fields["uid"].upper()}).encode()


def leave_rest(path: Path) -> None:
    """Fill what is behind a caption with bytes other than zero, as some writers leave them."""
    with tarfile.open(path) as tar:
        member = next(member for member in tar if member.name.endswith(".txt"))
    data = bytearray(path.read_bytes())
    end = member.offset_data + member.size
    data[end : end + -end % BLOCK] = b"x" * (-end % BLOCK)
    path.write_bytes(data)


def test_samples_copied_together_are_those_copied_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path)
    make_odd(site.shards / "00000002.tar")
    leave_rest(site.shards / "00000001.tar")
    subset = site.subset(*range(40), *[5] * 11, 6, 6)  # more copies than one digit tells
    together = []

    class Counted(write._Copy):
        def _note_all(self, loaded) -> None:
            together.append(len(loaded.at))
            super()._note_all(loaded)

    monkeypatch.setattr(write, "_Copy", Counted)
    for name, buffer in (("large", write.BUFFER), ("small", 40_000)):
        monkeypatch.setattr(write, "BUFFER", buffer)
        site.reshard(subset, name, places=True)
    assert sum(together) > 20
    monkeypatch.setattr(write, "FEW", 1 << 30)
    together.clear()
    assert site.reshard(subset, "alone", places=True).output_count == 53
    assert not together
    assert bytes_of(site.place / "large") == bytes_of(site.place / "small") == bytes_of(site.place / "alone")
