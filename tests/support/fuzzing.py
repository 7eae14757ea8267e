"""Mutation fuzzing: valid input, damaged in ways that parsers get wrong. The same seed gives the same inputs.

DATACOMP_SECURITY_SEED and DATACOMP_SECURITY_COUNT choose the inputs and how many there are for each parser.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

SEED = int(os.environ.get("DATACOMP_SECURITY_SEED", "0"))
MIB = 1 << 20
SLOWEST = 2.0
"""Seconds that one small input may take, on a busy machine."""
_BYTES = (0, 1, 0x7F, 0x80, 0xFF, 0x20, 0x2D, 0x30, 0x39)
_WORDS = (
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\x7f\xff\xff\xff",
    b"-1",
    b"1e999",
    b"9" * 20,
    b"\x00" * 512,
    b"\n",
    b"{[(",
)


def count(default: int, share: float) -> int:
    """How many inputs a test tries: its share of all that were asked for."""
    asked = os.environ.get("DATACOMP_SECURITY_COUNT")
    return int(int(asked) * share) if asked else default


def mutations(examples: Sequence[bytes], number: int, name: str) -> Iterator[bytes]:
    """`number` inputs: the examples themselves first, then damaged ones."""
    rng = random.Random(f"{SEED}/{name}")
    yield from examples
    for _ in range(max(number - len(examples), 0)):
        data = bytearray(rng.choice(examples))
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            rng.choice(_WAYS)(data, rng, examples)
        yield bytes(data)


def _flip(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _put(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice(_BYTES)


def _word(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at, word = rng.randrange(len(data) + 1), rng.choice(_WORDS)
    data[at : at + rng.choice((0, len(word)))] = word


def _cut(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _remove(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.choice((1, 2, 4, 16, 64))]


def _repeat(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at : at + rng.choice((1, 4, 32, 512))] * rng.choice((1, 2, 50))


def _digit(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    places = [at for at, byte in enumerate(data[:4096]) if 0x30 <= byte <= 0x39]
    if places:
        data[rng.choice(places)] = rng.choice(b"0123456789-_. ")


def _splice(data: bytearray, rng: random.Random, examples: Sequence[bytes]) -> None:
    other = rng.choice(examples)
    start = rng.randrange(len(other) + 1)
    at = rng.randrange(len(data) + 1)
    data[at : at + rng.choice((0, 16, len(data)))] = other[start : start + rng.choice((8, 64, len(other)))]


_WAYS = (_flip, _put, _word, _cut, _remove, _repeat, _digit, _splice)


def typed_only(
    parse: Callable[[bytes], object], inputs: Iterator[bytes], allowed: type[Exception], *, growth: int = 64 * MIB
) -> tuple[int, int]:
    """Feed a parser. Returns how many inputs there were and how many it took; fails on any other error than `allowed`,
    on an input that takes long, and when this process grows by more than `growth` bytes."""
    number = taken = 0
    before = _reset_peak()
    for data in inputs:
        number += 1
        started = time.monotonic()
        try:
            parse(data)
            taken += 1
        except allowed:
            pass
        except BaseException as error:
            raise AssertionError(f"{type(error).__name__}: {error} for {data[:2000]!r}") from error
        assert time.monotonic() - started < SLOWEST, f"{time.monotonic() - started:.1f} s for {data[:2000]!r}"
    grown = _reset_peak() - before
    assert grown < growth, f"grew by {grown // MIB} MiB"
    return number, taken


def _reset_peak() -> int:
    """Peak resident memory since the last call, in bytes."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
