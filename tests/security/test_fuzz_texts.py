"""What people write, damaged: rules, tars, filter files and descriptions of boards give typed errors alone."""

import io
import os
import random
import tarfile
from pathlib import Path

import fuzzing
import pytest

from datacomp.checks import parse_choice
from datacomp.filtering import select
from datacomp.filtering.load import parse_filter_source
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp.tars.entries import Window
from datacomp.tars.samples import samples
from datacomp_server.boards.config import read_boards

RULES = [
    b"top_fraction(clip_l14_similarity_score, 0.3)",
    b"words > 3 and not (chars < 9 or lang in ('en', 'fr'))",
    b"clip_b32_similarity_score * 0.5 + 0.5 * clip_l14_similarity_score >= 0.2",
    b"percentile_rank(clip_l14_similarity_score) > 0.5",
    b"sample(0.5, seed=7)",
    b"-words <= -2 and original_width / original_height < 3",
]
WORDS = (
    "and",
    "or",
    "not",
    "in",
    "(",
    ")",
    ",",
    "=",
    "==",
    "<",
    "-",
    "*",
    "/",
    "'a'",
    '"',
    "1e309",
    "0",
    "-1",
    "words",
    "lang",
    "score",
)


def rules(number: int, name: str):
    """Damaged rules, every other one by exchanging words."""
    rng = random.Random(f"{fuzzing.SEED}/{name}")
    for damaged in fuzzing.mutations(RULES, number, name):
        if rng.random() < 0.5:
            words = rng.choice(RULES).decode().split()
            for _ in range(rng.choice((1, 2, 5))):
                words.insert(rng.randrange(len(words) + 1), rng.choice(WORDS))
            yield " ".join(words).encode()
        else:
            yield damaged


def test_rules(record_property) -> None:
    def parse(data: bytes) -> object:
        return parse_choice(data.decode(errors="replace"))

    number, taken = fuzzing.typed_only(parse, rules(fuzzing.count(1500, 0.2), "rules"), BadInput)
    assert 0 < taken < number
    record_property("fuzzed", "rules")
    record_property("inputs", number)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_rules_over_a_pool(hostile_pool: Pool, record_property) -> None:
    def evaluate(data: bytes) -> object:
        return select(hostile_pool, None, data.decode(errors="replace"))

    number, taken = fuzzing.typed_only(evaluate, rules(fuzzing.count(150, 0.02), "evaluated"), BadInput)
    assert 0 < taken < number
    record_property("fuzzed", "evaluated rules")
    record_property("inputs", number)


def test_control_characters_get_no_further() -> None:
    """They would end in terminals, on pages, and in PostgreSQL, which refuses texts with zeros."""
    for rule in ("lang == 'a\0'", "words > \x1b[2J3", "lang == '\ud800'", "words\u202e > 3"):
        with pytest.raises(BadInput, match="rule-invalid") as error:
            parse_choice(rule)
        assert all(c.isprintable() for c in str(error.value))
    source = b'"""A \\0 and \\ud800 and \\x1b[2J."""\nclass A(Filter): pass\n'
    assert parse_filter_source(source, "a.py").description == "A \ufffd and \ufffd and \ufffd[2J."


def tar(kind: int, name: str = "000000001") -> bytes:
    """A tar of two samples in one of Python's formats."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as writer:
        for key in (name, "000000002"):
            for extension, data in (
                ("jpg", b"\xff\xd8" + bytes(700)),
                ("json", b'{"uid": "%032d"}' % 7),
                ("txt", b"a cat"),
            ):
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(data)
                writer.addfile(member, io.BytesIO(data))
    return file.getvalue()[:7168]


def test_tars(tmp_path: Path, record_property) -> None:
    path = tmp_path / "damaged.tar"

    def read(data: bytes) -> object:
        path.write_bytes(data)
        file = os.open(path, os.O_RDONLY)
        try:
            return [sample for sample, _ in zip(samples(Window(file)), range(len(data)), strict=False)]
        finally:
            os.close(file)

    kinds = [
        tar(kind, name)
        for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
        for name in ("0001", "a" * 90)
    ]
    kinds += [tar(tarfile.GNU_FORMAT, "b" * 150), tar(tarfile.PAX_FORMAT, "ü" * 120)]
    number, taken = fuzzing.typed_only(read, fuzzing.mutations(kinds, fuzzing.count(300, 0.1), "tar"), ValueError)
    assert 0 < taken < number
    record_property("fuzzed", "tars")
    record_property("inputs", number)


@pytest.mark.parametrize(
    "field", [b"-0000001000\0", b"-0000000777 ", b"1_000000000\0", b"\x80" + b"\xff" * 11, b"0o000000777\0"]
)
def test_sizes_that_are_none_end_the_reading(tmp_path: Path, field: bytes) -> None:
    """A size below nothing would send the reader back, and round for ever."""
    data = bytearray(tar(tarfile.USTAR_FORMAT))
    data[512 * 3 + 124 : 512 * 3 + 136] = field
    path = tmp_path / "odd.tar"
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(ValueError, match="tar"):
        list(samples(Window(file.fileno())))


SOURCES = [
    b'"""How."""\nfrom datacomp.filtering import Filter\n\nclass A(Filter):\n    rule = "score"\n',
    b"# -*- coding: latin-1 -*-\nclass B(Base):\n    '''\xe9'''\n",
    b"class C(D):\n    x = " + b"(" * 60 + b")" * 60 + b"\n",
]


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_filter_files(record_property) -> None:
    def parse(data: bytes) -> object:
        found = parse_filter_source(data, "mine.py")
        assert all(c.isprintable() or c in "\n\t" for c in found.description), "the description is shown on pages"
        return found

    number, taken = fuzzing.typed_only(parse, fuzzing.mutations(SOURCES, fuzzing.count(400, 0.02), "source"), BadInput)
    assert 0 < taken < number
    record_property("fuzzed", "filter files")
    record_property("inputs", number)


BOARDS = [
    b"""[[boards]]
name = "tiny"
title = "Tiny"
track = "filtering"
scale = "tiny"
suite = "tiny@1"
pool = "tiny"
seeds = [0, 1]
submissions_per_day = 5
opens_at = 2026-01-01T00:00:00Z
closes_at = 2027-01-01T00:00:00+02:00
dedup = { mode = "report", threshold = 0.95, feature = "l14_img" }
""",
    b"""[[boards]]
name = "medium"
title = "Medium"
scale = "medium"
suite = "datacomp-38@1"
pool = "medium"
train_queue = "gpu"
max_upload_bytes = 1000000
private_tasks = ["imagenet1k"]
closes_at = 2027-01-01T00:00:00Z
""",
]


def test_boards(tmp_path: Path, record_property) -> None:
    path = tmp_path / "boards.toml"

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return read_boards(path)

    number, taken = fuzzing.typed_only(read, fuzzing.mutations(BOARDS, fuzzing.count(120, 0.01), "boards"), BadInput)
    assert 0 < taken < number
    record_property("fuzzed", "boards")
    record_property("inputs", number)
