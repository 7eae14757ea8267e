"""What comes out of the sandbox and what participants upload, damaged: typed errors alone, bounded memory and time."""

import io
import random
from contextlib import suppress
from pathlib import Path

import fuzzing
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datacomp import uids as u
from datacomp.checks import Report, check_file
from datacomp.filtering.wire import Header, Receiver, Sender
from datacomp.messages import SubmissionKind
from datacomp.pool import Pool
from datacomp.problems import BadInput, Problem

ROWS = 24


def stream(dtype: str = "float32", rule: str = "score > 0", rows: int = ROWS) -> bytes:
    """A result as filters give it."""
    file = io.BytesIO()
    sender = Sender(file)
    sender.begin()
    sender.header(Header(dtype=dtype, rule=rule))
    for piece in np.array_split(np.ones(rows, dtype), 2):
        sender.scores(piece)
    sender.end()
    return file.getvalue()


def failure() -> bytes:
    file = io.BytesIO()
    sender = Sender(file)
    sender.begin()
    sender.failure((Problem(code="filter-raised", message="m", where="mine.py:3", hint="h"),))
    return file.getvalue()


STREAMS = [
    stream(),
    stream("bool"),
    stream("int32", "score > 1"),
    stream("float64", "top_fraction(score, 0.3)"),
    failure(),
]


def receive(data: bytes) -> object:
    """Feed a receiver in pieces whose sizes depend on the data."""
    receiver = Receiver(ROWS)
    rng = random.Random(len(data))
    at = 0
    while at < len(data):
        size = rng.choice((1, 3, 64, 65536))
        receiver.feed(data[at : at + size])
        at += size
    held = len(receiver._buffer) + receiver._size
    assert held <= len(data) + ROWS * 8, "holds more than it was given"
    scores = receiver.scores()
    assert scores.shape == (ROWS,)
    return scores


def test_the_receiver_of_scores(record_property) -> None:
    inputs = fuzzing.mutations(STREAMS, fuzzing.count(1500, 0.5), "wire")
    number, taken = fuzzing.typed_only(receive, inputs, BadInput)
    assert 0 < taken < number
    record_property("fuzzed", "results")
    record_property("inputs", number)


FRAMES = st.lists(
    st.tuples(
        st.sampled_from([b"B", b"H", b"S", b"F", b"E", b"?"]),
        st.one_of(st.none(), st.integers(0, 2**32 - 1)),
        st.binary(max_size=120),
    )
)


@settings(max_examples=60)
@given(FRAMES)
def test_frames_in_any_order(frames: list[tuple[bytes, int | None, bytes]]) -> None:
    data = b"".join(k + (len(d) if n is None else n).to_bytes(4, "little") + d for k, n, d in frames)
    with suppress(BadInput):
        receive(data)


def test_the_receiver_holds_no_more_than_a_piece() -> None:
    """A frame that announces more than allowed is refused before a byte of it is kept."""
    receiver = Receiver(ROWS)
    with pytest.raises(BadInput, match="filter-result-malformed"):
        receiver.feed(b"H\xff\xff\xff\xff" + bytes(1 << 20))


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version, allow_pickle=False)
    return file.getvalue()


def uploads() -> list[bytes]:
    """Files of uids in all their forms, and arrays that are none."""
    uids = u.sort(np.array([(n * 2**40, n) for n in range(40)], u.UID_DTYPE))
    return [
        npy(uids),
        npy(uids, (2, 0)),
        npy(uids, (3, 0)),
        uids.tobytes(),
        npy(np.arange(9)),
        npy(uids.reshape(2, 20)),
        npy(uids[:0]),
    ]


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads") / "uids.npy"


def test_uploads_of_uids(upload: Path, hostile_pool: Pool, record_property) -> None:
    def parse(data: bytes) -> object:
        upload.write_bytes(data)
        report = check_file(upload, hostile_pool if len(data) % 8 == 0 else None, SubmissionKind.UIDS)
        assert isinstance(report, Report)
        assert report.problems or report.result
        return u.read_subset(upload)

    number, taken = fuzzing.typed_only(parse, fuzzing.mutations(uploads(), fuzzing.count(150, 0.15), "npy"), BadInput)
    assert 0 < taken < number
    record_property("fuzzed", "uploads")
    record_property("inputs", number)


HEADERS = st.fixed_dictionaries(
    {
        "descr": st.one_of(
            st.sampled_from(["u8,u8", "<u8", "|O", "<U2000000000", "V0", [("f0", "<u8"), ("f1", "<u8")]]),
            st.text(max_size=20),
        ),
        "fortran_order": st.one_of(st.booleans(), st.integers(), st.text(max_size=5)),
        "shape": st.one_of(
            st.tuples(st.integers(-5, 2**70)),
            st.lists(st.integers(-(2**63), 2**63), max_size=40).map(tuple),
            st.text(max_size=5),
        ),
    }
)


@settings(max_examples=60)
@given(HEADERS, st.binary(max_size=64), st.sampled_from([1, 2, 3, 9]))
def test_headers_of_any_content(upload: Path, header: dict, body: bytes, version: int) -> None:
    text = repr(header).encode("utf-8", "surrogatepass") + b"\n"
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    upload.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + size + text + body)
    with suppress(BadInput):
        u.read_subset(upload)
