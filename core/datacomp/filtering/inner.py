"""What runs inside the sandbox: loads a participant's filter, scores the pool, sends scores or the cause of failure.

python -m datacomp.filtering.inner FILTER.py POOL_DIR RESULT_DESCRIPTOR
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from datacomp.filtering.engine import iter_scores
from datacomp.filtering.load import load_file, make
from datacomp.filtering.wire import Header, Sender
from datacomp.pool import Pool
from datacomp.problems import BadInput, DatacompError, Problem


def main(arguments: list[str]) -> int:
    """Score and send; 0 when all went well."""
    code, pool_dir, descriptor = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    sender = Sender(os.fdopen(descriptor, "wb", 0))
    sender.begin()
    try:
        _run(code, pool_dir, sender)
    except DatacompError as error:
        sender.failure(_with_line(error.problems, error, code))
        return 1
    except BaseException as error:  # whatever the participant's code raises, sys.exit included, is told to them
        traceback.print_exc()
        sender.failure((raised(error, code),))
        return 1
    return 0


def _run(code: Path, pool_dir: Path, sender: Sender) -> None:
    filter_ = make(load_file(code), {})
    kind = None
    for piece in iter_scores(filter_, Pool.open(pool_dir)):
        if kind is None:
            kind = piece.dtype
            sender.header(Header(dtype=str(kind), rule=str(filter_.rule)))
        elif piece.dtype != kind:
            message = f"some batches gave {kind} and others {piece.dtype}"
            raise BadInput.of("filter-score-mixed", message, hint="return the same type for every batch")
        sender.scores(piece)
    if kind is None:
        sender.header(Header(dtype="bool", rule=str(filter_.rule)))
    sender.end()


def raised(error: BaseException, code: Path) -> Problem:
    """The problem of an exception from a participant's code, with the line of their file it came from."""
    if isinstance(error, MemoryError):
        return Problem(
            code="filter-memory",
            message="the filter needs more memory than it may use",
            where=_line(error, code),
            hint="work batch by batch; read less",
        )
    name = type(error).__name__
    hint = "run it on your own machine: datacomp filter FILE --pool DIR --out uids.npy"
    text = str(error)[:1000]
    message = f"{name}: {text}" if text else name
    return Problem(code="filter-raised", message=message, where=_line(error, code), hint=hint)


def _with_line(problems: tuple[Problem, ...], error: BaseException, code: Path) -> tuple[Problem, ...]:
    line = _line(error, code)
    return tuple(p if p.where or not line else p.at(line) for p in problems)


def _line(error: BaseException, code: Path) -> str | None:
    """`file.py:12, in score`: the innermost frame of the participant's file."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(code)]
    return f"{code.name}:{own[-1].lineno}, in {own[-1].name}" if own else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
