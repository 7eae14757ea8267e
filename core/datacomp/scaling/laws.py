"""Laws of error over compute, and their fits.

All are cases of error = A (C + B)^-alpha + E: `line` is a straight line in log-log (B = E = 0), `shift` adds B, `floor`
adds E, `full` has both. Fits minimise Huber's loss of the residuals of log error by `scipy.optimize.least_squares`
(trust region reflective, with bounds and an analytic Jacobian) from several starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FORMS = {"line": (0, 1), "shift": (0, 1, 2), "floor": (0, 1, 3), "full": (0, 1, 2, 3)}
"""Which of log A, alpha, B and E each law is free in; the others are 0."""
NAMES = ("log_A", "alpha", "B", "E")
HUBER = 0.1
"""Residuals of log error beyond this count linearly: a tenth of the error is far more than seeds change."""
STEEPEST = 3.0
LARGEST_SHIFT = 100.0
"""Bound of B, in units of the smallest compute."""
LEAST_ERROR = 1e-6
"""Errors are taken to be at least this, so that a perfect score has a logarithm."""
NEAR_BOUND = 1e-3
FARTHEST = 600.0
"""Of the logarithm of A (C + B)^-alpha on a fit's way: its exponential is a number other than 0."""


@dataclass(frozen=True)
class Fitted:
    """A fitted law. `theta`: log A, alpha, B, E with compute in units of `unit`."""

    form: str
    theta: Floats
    unit: float
    at_bound: tuple[str, ...]
    rms: float
    """Root mean square residual of log error."""

    def log_error(self, compute: npt.ArrayLike) -> Floats:
        """Logarithm of the expected error."""
        return np.log(np.maximum(_error(self.theta, np.asarray(compute, np.float64) / self.unit), LEAST_ERROR))

    def score(self, compute: npt.ArrayLike) -> Floats:
        """Expected score, 1 - error."""
        return np.asarray(1 - np.exp(self.log_error(compute)))

    def parameters(self) -> dict[str, float]:
        """A, alpha and, where the law has them, B and E, in the unit of the compute that was given."""
        log_a, alpha, b, e = (float(value) for value in self.theta)
        found = {"A": float(np.exp(log_a + alpha * np.log(self.unit))), "alpha": alpha, "B": b * self.unit, "E": e}
        free = {NAMES[place] for place in FORMS[self.form]} | {"A"}
        return {name: value for name, value in found.items() if name in free and np.isfinite(value)}


def log_errors(scores: npt.ArrayLike) -> Floats:
    """Logarithms of 1 - score."""
    return np.log(np.maximum(1 - np.asarray(scores, np.float64), LEAST_ERROR))


def fit(form: str, compute: npt.ArrayLike, log_error: npt.ArrayLike, start: Floats | None = None) -> Fitted:
    """The best fit of a law from several starts, or from one that is given (a theta of the same unit).

    `compute`, `log_error`: shape (points,), at least two different computes. ValueError for fewer.
    """
    c, y = np.asarray(compute, np.float64), np.asarray(log_error, np.float64)
    if np.unique(c).size < 2:
        raise ValueError("a law needs scores at two amounts of compute")
    unit = float(np.exp(np.log(c).mean()))
    scaled = c / unit
    free = list(FORMS[form])
    lower, upper = _bounds(scaled, y)
    starts = _starts(form, scaled, y) if start is None else [start]
    best = min((_solve(free, scaled, y, lower, upper, first) for first in starts), key=lambda found: found[1])
    theta = best[0]
    width = NEAR_BOUND * (upper - lower)
    near = (np.abs(theta - lower) <= width) | (np.abs(theta - upper) <= width)
    at_bound = tuple(NAMES[place] for place in free if near[place])
    rms = float(np.sqrt(np.mean(residuals(theta, scaled, y) ** 2)))
    return Fitted(form, theta, unit, at_bound, rms)


def residuals(theta: Floats, compute: Floats, log_error: Floats) -> Floats:
    """Log expected error less log error: shape (points,)."""
    return np.asarray(np.log(_error(theta, compute)) - log_error)


def jacobian(theta: Floats, compute: Floats) -> Floats:
    """Derivatives of the residuals by log A, alpha, B, E: shape (points, 4)."""
    _, alpha, b, _ = theta
    shifted, power = compute + b, _power(theta, compute)
    columns = (power, -power * np.log(shifted), -alpha * power / shifted, np.ones_like(compute))
    return np.asarray(np.stack(columns, axis=1) / _error(theta, compute)[:, None])


def _error(theta: Floats, compute: Floats) -> Floats:
    return np.asarray(_power(theta, compute) + theta[3])


def _power(theta: Floats, compute: Floats) -> Floats:
    log_a, alpha, b, _ = theta
    return np.asarray(np.exp(np.clip(log_a - alpha * np.log(compute + b), -FARTHEST, FARTHEST)))


def _bounds(c: Floats, y: Floats) -> tuple[Floats, Floats]:
    span = float(np.abs(np.log(c)).max())
    reach = float(np.abs(y).max()) + STEEPEST * (span + np.log(1 + LARGEST_SHIFT)) + 1
    lower = np.array([-reach, -STEEPEST, 0.0, 0.0])
    upper = np.array([reach, STEEPEST, LARGEST_SHIFT * c.min(), max(float(np.exp(y.min())), LEAST_ERROR)])
    return lower, upper


def _starts(form: str, c: Floats, y: Floats) -> list[Floats]:
    """From the straight line, and around it."""
    slope, height = np.polyfit(np.log(c), y, 1)
    found = []
    shifts = (0.01, 1.0) if 2 in FORMS[form] else (0.0,)
    floors = (0.01, 0.5, 0.9) if 3 in FORMS[form] else (0.0,)
    for shift, floor in product(shifts, floors):
        alphas = (-slope, 0.5) if form != "line" else (-slope,)
        found += [np.array([height, alpha, shift * c.min(), floor * np.exp(y.min())]) for alpha in alphas]
    return found


def _solve(free: list[int], c: Floats, y: Floats, lower: Floats, upper: Floats, start: Floats) -> tuple[Floats, float]:
    """Theta and cost from one start."""
    from scipy.optimize import least_squares

    def whole(part: Floats) -> Floats:
        theta = np.zeros(4)
        theta[free] = part
        return theta

    lo, hi = lower[free], upper[free]
    margin = 1e-9 * (hi - lo)
    solved = least_squares(
        lambda part: residuals(whole(part), c, y),
        np.clip(start[free], lo + margin, hi - margin),
        jac=lambda part: jacobian(whole(part), c)[:, free],
        bounds=(lo, hi),
        method="trf",
        loss="huber",
        f_scale=HUBER,
        x_scale=np.maximum(np.abs(start[free]), 0.01),
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
        max_nfev=400,
    )
    return whole(solved.x), float(solved.cost)
