"""Reading samples out of tars: whatever their files and headers, the same as Python's own reader finds."""

import io
import json
import random
import tarfile
from pathlib import Path

import pytest

from datacomp.tars.entries import Window
from datacomp.tars.runs import runs
from datacomp.tars.samples import Sample, sample_at, samples, uid_of
from datacomp.uids import to_hex

SHAPES = (
    ("jpg", "json", "txt"),
    ("jpg", "json", "txt"),
    ("json", "png", "txt"),
    ("jpg", "json", "txt", "x.y"),
    ("txt",),
)


def write(path: Path, seed: int, form: int) -> None:
    """Runs of samples of one shape, with other shapes, long names, directories and stems that come twice among them."""
    rng = random.Random(seed)
    shape = SHAPES[0]
    with tarfile.open(path, "w", format=form) as tar:
        for number in range(60):
            if rng.random() < 0.15:
                shape = rng.choice(SHAPES)
            stem = f"{number - (rng.random() < 0.1):06d}"
            if rng.random() < 0.06:
                stem = "long" * 30 + stem
            if rng.random() < 0.05:
                folder = tarfile.TarInfo("folder.d")
                folder.type = tarfile.DIRTYPE
                tar.addfile(folder)
            for extension in shape:
                member = tarfile.TarInfo(f"{stem}.{extension}")
                data = rng.randbytes(rng.choice((0, 1, 511, 512, 513, 5000)))
                member.size, member.mtime = len(data), rng.choice((1, 1, 1, 1.5))
                tar.addfile(member, io.BytesIO(data))


def expected(path: Path) -> list[tuple[str, list[tuple[str, int, int]]]]:
    found: list[tuple[str, list[tuple[str, int, int]]]] = []
    with tarfile.open(path) as tar:
        for member in tar:
            stem, _, extension = member.name.partition(".")
            if not member.isfile():
                continue
            if not found or found[-1][0] != stem or extension in {name for name, _, _ in found[-1][1]}:
                found.append((stem, []))
            found[-1][1].append((extension, member.offset_data, member.size))
    return found


def told(sample: Sample) -> tuple[str, list[tuple[str, int, int]]]:
    files = zip(sample.shape, sample.places, strict=True)
    return sample.stem.decode(), [(extension, data, size) for extension, (data, size) in files]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("seed", range(6))
def test_samples_are_those_that_pythons_reader_finds(tmp_path: Path, seed: int, form: int) -> None:
    path = tmp_path / "a.tar"
    write(path, seed, form)
    with path.open("rb") as file:
        found = list(samples(Window(file.fileno())))
        assert [told(sample) for sample in found] == expected(path)
        for sample in found:
            assert sample.size == sum(size for _, size in sample.places)
            for shape in SHAPES:
                assert sample_at(Window(file.fileno()), sample.start, shape) == sample
            part = path.read_bytes()[sample.start : sample.stop]
            alone = Window(-1, begin=sample.start, content=bytearray(part + part), size=sample.stop)
            assert sample_at(alone, sample.start, sample.shape)[:2] == sample[:2]
        rows = [row for run in runs(file.fileno()) for row in zip(run.start, run.stop, run.sizes.sum(1), strict=True)]
        assert rows == [sample[:3] for sample in found]


@pytest.mark.parametrize("odd", [0, 3, 150])
def test_runs_name_the_uids_that_one_sample_after_the_other_does(tmp_path: Path, odd: int) -> None:
    """300 samples alike; after one of them some whose json is long, has no uid, a late one, or two."""
    jsons = [json.dumps({"uid": f"{number:032x}", "caption": "a"}) for number in range(300)]
    first, second = jsons[1].removesuffix("}"), jsons[2].removeprefix("{")
    late = json.dumps({"a": 1, "uid": f"{5:032x}"})
    jsons[odd:odd] = [json.dumps({"uid": "AB" * 16, "exif": "e" * 9000}), "{}", late, f"{first}, {second}"]
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for number, about in enumerate(jsons):
            for extension, data in (("jpg", b"i" * 6000), ("json", about.encode()), ("txt", b"t" * number)):
                member = tarfile.TarInfo(f"{number:06d}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    with path.open("rb") as file:
        expected = [(uid_of(sample.json) or b"").decode().lower() for sample in samples(Window(file.fileno()))]
        found = list(runs(file.fileno()))
    assert max(len(run.start) for run in found) > 100
    uids = [uid if own else "" for run in found for uid, own in zip(to_hex(run.uids), run.named, strict=True)]
    assert uids == expected
    assert uids[odd : odd + 4] == ["ab" * 16, "", f"{5:032x}", f"{2:032x}"]


def test_a_tar_that_ends_too_early_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write(path, 3, tarfile.GNU_FORMAT)
    data = path.read_bytes()
    with path.open("rb") as file:
        ends = [sample.stop for sample in samples(Window(file.fileno()))]
    for cut in range(700, len(data) - 20480, 4099):
        path.write_bytes(data[:cut])
        with path.open("rb") as file:
            if cut in ends:
                continue
            with pytest.raises(ValueError, match="tar"):
                list(samples(Window(file.fileno())))
