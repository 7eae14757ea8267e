"""Reading samples out of tars: whatever their files and headers, the same as Python's own reader finds."""

import io
import random
import tarfile
from pathlib import Path

import pytest

from datacomp.tars.entries import Window
from datacomp.tars.samples import Sample, sample_at, samples

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
