"""How scores cross the pipe from the sandbox, and what does not get through."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from datacomp.filtering.wire import Header, Receiver, Sender
from datacomp.problems import BadInput, Problem


def sent(*, dtype: str = "float32", pieces: list[np.ndarray], end: bool = True) -> bytes:
    file = io.BytesIO()
    sender = Sender(file)
    sender.header(Header(dtype=dtype, rule="score > 0"))
    for piece in pieces:
        sender.scores(piece)
    if end:
        sender.end()
    return file.getvalue()


def test_scores_cross_the_pipe_in_any_cut() -> None:
    values = np.random.default_rng(0).random(100).astype(np.float32)
    data = sent(pieces=[values[:60], values[60:]])
    for size in (1, 7, len(data)):
        receiver = Receiver(100)
        for start in range(0, len(data), size):
            receiver.feed(data[start : start + size])
        assert np.array_equal(receiver.scores(), values)


def test_scores_lie_in_a_file_and_not_in_memory(tmp_path: Path) -> None:
    piece = np.arange(1 << 20, dtype=np.float32)
    data = sent(pieces=[piece] * 16)
    tracemalloc.start()
    receiver = Receiver(piece.size * 16, folder=tmp_path)
    for start in range(0, len(data), 1 << 16):
        receiver.feed(data[start : start + (1 << 16)])
    scores = receiver.scores()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * piece.nbytes < scores.nbytes
    assert not list(tmp_path.iterdir()), "nameless"
    del receiver
    assert np.array_equal(scores.reshape(16, -1)[15], piece)


def test_a_failure_crosses_the_pipe() -> None:
    file = io.BytesIO()
    for line in (3, 4):  # two processes of one filter: the first counts
        Sender(file).failure((Problem(code="filter-raised", message="m" * 99_999, where=f"f.py:{line}"),))
    receiver = Receiver(10)
    receiver.feed(file.getvalue())
    with pytest.raises(BadInput) as error:
        receiver.scores()
    assert error.value.problems[0].where == "f.py:3"
    receiver.feed(b"anything")


@pytest.mark.parametrize(
    "data",
    [
        b"X\x00\x00\x00\x00",
        b"S\x04\x00\x00\x00abcd",
        b"H\xff\xff\xff\xff",
        b"H\x02\x00\x00\x00{}",
        b"H\x02\x00\x00\x00[[",
        b"F\x04\x00\x00\x00null",
        b"E\x00\x00\x00\x00",
        sent(pieces=[np.zeros(11, np.float32)]),
        sent(pieces=[np.zeros(9, np.float32)]),
        sent(pieces=[np.zeros(10, np.float32)]) + b"S\x00\x00\x00\x00",
        sent(dtype="bool", pieces=[np.full(10, 2, np.uint8)]),
        sent(pieces=[])[:-5] * 2,
        b"B\x00\x00\x00\x00" * 2,
        b"F\x34\x00\x00\x00" + b'{"problems": [{"code": "A <b>", "message": "m"}]}   ',
    ],
)
def test_what_does_not_belong_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match="filter-result-malformed"):
        Receiver(10).feed(data)


def test_random_bytes_never_crash_the_receiver() -> None:
    rng = np.random.default_rng(0)
    good = sent(pieces=[np.zeros(10, np.float32)])
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        receiver = Receiver(10)
        try:
            receiver.feed(bytes(data))
            receiver.scores()
        except BadInput:
            continue


def test_an_early_end_is_told() -> None:
    receiver = Receiver(10)
    receiver.feed(sent(pieces=[np.zeros(5, np.float32)], end=False))
    with pytest.raises(BadInput, match="filter-ended"):
        receiver.scores()
