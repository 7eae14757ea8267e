"""How scores leave the sandbox: frames on a pipe, counted and checked by the side that trusts nothing.

A frame is one byte of kind, four bytes of length (little-endian), and that many bytes: `B` the beginning (before any
of the participant's code), `H` the header (JSON: dtype of the scores, rule), `S` scores, `F` a failure (JSON:
problems), `E` the end. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import re
import struct
import weakref
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datacomp.filtering.contract import ScoreArray
from datacomp.problems import BadInput, Problem
from datacomp.text import printable

_FRAME = struct.Struct("<cI")
LARGEST_TEXT = 1 << 16
LARGEST_PIECE = 1 << 24
CODE = re.compile("[a-z0-9]+(-[a-z0-9]+)*")
DTYPES = {"bool": np.dtype(np.bool_), "int32": np.dtype("<i4"), "float32": np.dtype("<f4"), "float64": np.dtype("<f8")}


class Header(BaseModel):
    """What the scores are."""

    model_config = ConfigDict(extra="forbid")

    dtype: str = Field(pattern="^(bool|int32|float32|float64)$")
    rule: str = Field(max_length=10_000)


class _Failed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    problems: list[Problem] = Field(min_length=1, max_length=100)


class Sender:
    """The untrusted side."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def begin(self) -> None:
        """Say that the interpreter is up."""
        self._send(b"B", b"")

    def header(self, header: Header) -> None:
        """Say what the scores are."""
        self._send(b"H", header.model_dump_json().encode())

    def scores(self, piece: ScoreArray) -> None:
        """Send scores."""
        data = piece.tobytes()
        for start in range(0, len(data), LARGEST_PIECE):
            self._send(b"S", data[start : start + LARGEST_PIECE])

    def failure(self, problems: tuple[Problem, ...]) -> None:
        """Say why there will be no scores."""
        shortened = [
            {
                key: printable(value[:2000]) if isinstance(value, str) else value
                for key, value in asdict(problem).items()
            }
            for problem in problems[:5]
        ]
        self._send(b"F", json.dumps({"problems": shortened}).encode())

    def end(self) -> None:
        """All scores are sent."""
        self._send(b"E", b"")

    def _send(self, kind: bytes, data: bytes) -> None:
        self._file.write(_FRAME.pack(kind, len(data)) + data)
        self._file.flush()


class Receiver:
    """The trusted side: `feed` it the bytes as they come.

    The scores of `rows` rows go to a nameless file in `folder` (None: the system's folder for those), so that memory
    holds a frame.
    """

    def __init__(self, rows: int, tick: Callable[[int], None] = lambda rows: None, folder: Path | None = None) -> None:
        self.rows = rows
        self.begun = False
        """Whether the sandbox came up: nothing of the participant's has run before."""
        self.header: Header | None = None
        self.ended = False
        self.failure: tuple[Problem, ...] = ()
        self._tick = tick
        self._buffer = bytearray()
        self._scores = TemporaryFile(dir=folder)  # noqa: SIM115 - maps of it live on
        weakref.finalize(self, self._scores.close)
        self._size = 0

    def feed(self, block: bytes) -> None:
        """Take bytes. `BadInput` `filter-result-malformed` at the first that does not belong. After a failure nothing
        counts: a filter's forked processes fail one after another."""
        self._buffer += block if not self.failure else b""
        while not self.failure and len(self._buffer) >= _FRAME.size:
            kind, length = _FRAME.unpack_from(self._buffer)
            self._allow(kind, length)
            if len(self._buffer) < _FRAME.size + length:
                return
            payload = bytes(self._buffer[_FRAME.size : _FRAME.size + length])
            del self._buffer[: _FRAME.size + length]
            self._take(kind, payload)

    def scores(self) -> ScoreArray:
        """All scores, shape (rows,), mapped. `BadInput` when the filter stopped before the end."""
        if self.failure:
            raise BadInput(*self.failure)
        if not self.ended or self.header is None:
            raise BadInput.of("filter-ended", "the filter's process ended before all rows were scored")
        dtype = DTYPES[self.header.dtype]
        if not self.rows:
            return np.empty(0, dtype)
        self._scores.flush()
        return np.memmap(self._scores, dtype, mode="r", shape=(self.rows,))

    def close(self) -> None:
        """Let go of the file; scores that were taken stay."""
        self._scores.close()

    def _allow(self, kind: bytes, length: int) -> None:
        if self.ended:
            raise _malformed("something follows the end")
        limit = {b"B": 0, b"H": LARGEST_TEXT, b"F": LARGEST_TEXT, b"S": LARGEST_PIECE, b"E": 0}.get(kind)
        if limit is None or length > limit or (kind == b"B" and self.begun):
            raise _malformed(f"a frame of kind {kind!r} and {length:,} bytes")
        if kind == b"S" and self.header is None:
            raise _malformed("scores before the header")
        if kind == b"S" and self._size + length > self._expected():
            raise _malformed("more scores than rows")

    def _take(self, kind: bytes, payload: bytes) -> None:
        self.begun = True
        try:
            if kind == b"H":
                if self.header is not None:
                    raise _malformed("two headers")
                self.header = Header.model_validate_json(payload)
            elif kind == b"F":
                self.failure = tuple(_Failed.model_validate_json(payload).problems)
                if not all(CODE.fullmatch(problem.code) for problem in self.failure):
                    raise _malformed("a failure whose code is none")
        except (ValidationError, RecursionError) as error:
            raise _malformed("a header or failure that is not of the form") from error
        if kind == b"S" and self.header is not None:
            if self.header.dtype == "bool" and np.frombuffer(payload, np.uint8).max(initial=0) > 1:
                raise _malformed("a truth value that is neither 0 nor 1")
            self._scores.write(payload)
            self._size += len(payload)
            self._tick(self._size // DTYPES[self.header.dtype].itemsize)
        if kind == b"E":
            if self.header is None or self._size != self._expected():
                raise _malformed("the end before all scores")
            self.ended = True

    def _expected(self) -> int:
        return self.rows * (DTYPES[self.header.dtype].itemsize if self.header else 0)


def _malformed(what: str) -> BadInput:
    hint = "the filter wrote to the descriptor that its results go through; return scores instead"
    return BadInput.of("filter-result-malformed", f"the results are not of the agreed form: {what}", hint=hint)
