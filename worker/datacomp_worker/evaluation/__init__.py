"""Evaluation of one model over a whole suite: records come out, never scores."""

from datacomp_worker.evaluation.suite import Evaluated, evaluate_suite

__all__ = ["Evaluated", "evaluate_suite"]
