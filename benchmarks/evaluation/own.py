"""Runs in our environment: the tiny suite's counted tasks with one checkpoint, as a worker evaluates them.

    python own.py DATA CHECKPOINT RECORDS REPEAT

Prints one line of JSON: {"runs": [{"seconds", "cpu"}]}, one of each repetition, model loading included. As in peer.py,
the clock starts when everything has been imported.
"""

import json
import logging
import sys
from pathlib import Path

import open_clip  # noqa: F401 - imported before the clock starts, as the peer's is
from spent import Clock

from datacomp.scales import SCALES
from datacomp.suite import Suite, load_suite
from datacomp_worker.evaluation import evaluate_suite
from datacomp_worker.tracks import clip


def counted() -> Suite:
    """The tiny suite without what the original does not know."""
    suite = load_suite("tiny")
    return suite.model_copy(update={"tasks": suite.counted})


def main() -> None:
    data, checkpoint, records, repeat = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    logging.disable(logging.WARNING)
    runs = []
    for _ in range(repeat):
        clock = Clock()
        evaluate_suite(counted(), data, clip.load(checkpoint, SCALES["tiny"]), records)
        runs.append(clock.read())
    print(json.dumps({"runs": runs}))


if __name__ == "__main__":
    main()
