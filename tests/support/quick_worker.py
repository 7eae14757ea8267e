"""A real worker whose trainings and evaluations are quick: `python quick_worker.py NAME QUEUES`.

Everything else is the worker's own code: Celery, claim, fetch, heartbeats, validation, subset shards, supervision of
the training child, checkpoints, hand-over. Only the child's program (`quick_child`) and the evaluation
(`quick_evaluate`) are replaced.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from datacomp.lifeline import PARENT, die_with_parent
from datacomp.messages import Stage
from datacomp_worker import pipeline
from datacomp_worker.app import serve
from datacomp_worker.settings import WorkerSettings
from datacomp_worker.training import supervise


def main(name: str, queues: str) -> None:
    if parent := os.environ.get(PARENT):
        die_with_parent(parent=int(parent))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    supervise.CHILD = "quick_child"
    pipeline.STAGES[Stage.EVALUATE] = "quick_evaluate"
    serve(WorkerSettings(worker_name=name), tuple(queues.split(",")))


if __name__ == "__main__":
    main(*sys.argv[1:])
