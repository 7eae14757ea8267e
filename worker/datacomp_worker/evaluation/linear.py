"""A linear probe: L2-regularised multinomial logistic regression in float64, by scikit-learn's L-BFGS.

Features are centred on the training items' mean and divided by their root-mean-square distance from it, so that one
strength of regularisation means the same for every model, however its embeddings crowd together. The strength is fixed
by the suite: one example a class leaves none to choose it by, and a choice per submission would be a part of the result
that is not the data's. Its default, C = 10, is about what CLIP's authors use (0.316 on features of norm 10).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from threading import Lock

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
TOLERANCE = 1e-7
ITERATIONS = 2000
_fitting = Lock()
"""Filters of warnings and the number of threads are the process's, whose tasks may run side by side."""


@dataclass(frozen=True)
class Probe:
    """A trained probe. Classes that it never saw are always last."""

    centre: Floats
    scale: float
    weights: Floats
    """Shape (classes, d)."""
    offsets: Floats
    """Shape (classes,)."""

    def scores(self, features: Floats) -> Floats:
        """Shape (n, d) to (n, classes)."""
        return np.asarray((features - self.centre) / self.scale @ self.weights.T + self.offsets)


def fit(features: Floats, labels: npt.NDArray[np.int64], classes: int, strength: float) -> Probe:
    """Train on features (n, d) of labels (n,), n at least 1. The number of threads makes no difference."""
    centre = features.mean(axis=0)
    distance = float(np.sqrt(((features - centre) ** 2).sum(axis=1).mean()))
    scale = distance if distance > 0 else 1.0
    weights, offsets = np.zeros((classes, features.shape[1])), np.full(classes, -np.inf)
    seen = np.unique(labels)
    if seen.size == 1:
        offsets[seen] = 0.0
    else:
        weights[seen], offsets[seen] = _logistic((features - centre) / scale, labels, strength)
    return Probe(centre, scale, weights, offsets)


def _logistic(features: Floats, labels: npt.NDArray[np.int64], strength: float) -> tuple[Floats, Floats]:
    """Weights and offsets of the classes that occur, ascending."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    if np.unique(labels).size == 2:
        strength *= 2  # scikit-learn fits the weights' difference, its square twice the sum of theirs
    with _fitting, threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound on the steps is part of the procedure
        model = LogisticRegression(C=strength, tol=TOLERANCE, max_iter=ITERATIONS).fit(features, labels)
    weights, offsets = np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)
    if len(weights) == 1:  # two classes: scikit-learn gives the second's alone
        return np.concatenate([-weights, weights]) / 2, np.concatenate([-offsets, offsets]) / 2
    return weights, offsets
