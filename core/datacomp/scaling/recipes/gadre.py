"""Gadre et al. 2024, "Language models scale reliably with over-training and on downstream tasks" (arXiv:2403.08540).

Loss: L(C, M) = E + (a M^eta + b M^-eta) C^-eta with compute C = 6 N D and tokens per parameter M = D / N, fitted as
L = E + alpha N^p + beta 6^(p/2) (M N)^p with p = -2 eta, a = alpha 6^(-p/2), b = beta. Error: Err = epsilon - k
exp(-gamma L). Both by unweighted least squares, the best of the authors' starts. Only averages of tasks are
predictable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from datacomp.problems import BadInput
from datacomp.scaling.recipes.report import Floats, RecipeReport, Row, choose, floats, read_table, with_numbers

LOSS_FIT = (
    ("d=96_l=8_h=4", 1.0),
    ("d=512_l=8_h=4", 1.0),
    ("d=576_l=24_h=8", 1.0),
    ("d=1024_l=24_h=8", 1.0),
    ("d=96_l=8_h=4", 16.0),
)
"""(model, multiple of 20 tokens per parameter) of the runs that the loss is fitted on."""
ERROR_FIT = (*LOSS_FIT, ("open_lm_1b", 1.0))
LARGE = "open_lm_7b"
SMALL = "open_lm_1b"
STEEPEST = 10.0
"""Of gamma: beyond it the law is a step between two of the points."""
MOST_CALLS = 5000
STARTS = tuple(product((1e2, 3e2, 1e3, 3e3), (1e2, 3e2, 1e3, 3e3), (-0.1, -0.3), (0.0, 1.0, 2.0, 10.0)))
"""alpha, beta, p, E."""
COLUMNS = ("train_dataset", "model", "N", "M", "cc_mult")


def run(data: Path, dataset: str = "rpj", benchmark: str = "avg17") -> RecipeReport:
    """The recipe on `gadre_testbed_104.csv` for one training set.

    `benchmark`: a column of errors without `err_`: `avg17`, `avg46`, or a task. The loss is on C4's validation set.
    """
    column = f"err_{benchmark}"
    rows = choose(read_table(data, (*COLUMNS, "loss_c4_val", column)), "train_dataset", dataset, data)
    report = RecipeReport("gadre", {"data": data.name, "dataset": dataset, "benchmark": benchmark})
    rows = with_numbers(rows, ("N", "M", "cc_mult", "loss_c4_val"), report)
    loss_rows = _named(rows, LOSS_FIT, data)
    law = fit_loss(floats(loss_rows, "N"), floats(loss_rows, "M"), floats(loss_rows, "loss_c4_val"))
    for name, value in zip(("E", "a", "b", "eta"), law, strict=True):
        report.add(name, value)
    error_rows = _named([row for row in rows if np.isfinite(floats([row], column)[0])], ERROR_FIT, data)
    decay = fit_error(floats(error_rows, "loss_c4_val"), floats(error_rows, column))
    for name, value in zip(("epsilon", "k", "gamma"), decay, strict=True):
        report.add(name, value)
    if not benchmark.startswith("avg"):
        report.warnings.append("single tasks are not predictable by this law: the authors report errors up to 82%")
    if not (decay[1] > 0 and 0 < decay[2] < STEEPEST):
        report.warnings.append("the error does not fall with the loss as the law has it: its predictions mean nothing")
    named = {called: row for row in rows if (called := _predicted_as(row, rows)) is not None}
    for called, row in named.items():
        _compare(report, called, row, law, decay, benchmark)
    report.warnings += [f"no run of {model} to compare with" for model in (LARGE, SMALL) if not _has(named, model)]
    return report


def _has(named: dict[str, Row], model: str) -> bool:
    return any(row["model"] == model for row in named.values())


def loss(law: Sequence[float], n: Floats, m: Floats) -> Floats:
    """Predicted losses of models of N parameters trained on M tokens per parameter."""
    e, a, b, eta = law
    compute = 6 * n * n * m
    return np.asarray(e + (a * m**eta + b * m**-eta) * compute**-eta)


def error(decay: Sequence[float], losses: Floats) -> Floats:
    """Predicted errors at some losses."""
    epsilon, k, gamma = decay
    return np.asarray(epsilon - k * np.exp(-gamma * losses))


def fit_loss(n: Floats, m: Floats, losses: Floats) -> tuple[float, float, float, float]:
    """E, a, b, eta."""

    def miss(x: Floats) -> Floats:
        alpha, beta, p, e = x
        return np.asarray(e + alpha * n**p + beta * 6 ** (p / 2) * (m * n) ** p - losses)

    alpha, beta, p, e = _best(miss, STARTS)
    return float(e), float(alpha * 6 ** (-p / 2)), float(beta), float(-p / 2)


def fit_error(losses: Floats, errors: Floats) -> tuple[float, float, float]:
    """epsilon, k, gamma."""

    def miss(x: Floats) -> Floats:
        return error(x.tolist(), losses) - errors

    epsilon, k, gamma = _best(miss, tuple(product((0.5, 1.0), (1.0, 10.0), (0.5, 1.0))))
    return float(epsilon), float(k), float(gamma)


def _best(miss: Callable[[Floats], Floats], starts: Sequence[Sequence[float]]) -> Floats:
    """The least-squares solution of the best start. `BadInput` when none converges."""
    from scipy.optimize import least_squares

    found = []
    with np.errstate(all="ignore"):
        for start in starts:
            try:
                found.append(least_squares(miss, start, method="lm", max_nfev=MOST_CALLS, x_scale=np.abs(start) + 1e-3))
            except ValueError:  # a step into where the law is not finite
                continue
    good = [fit for fit in found if np.isfinite(fit.x).all() and np.isfinite(fit.cost)]
    if not good:
        raise BadInput.of("fit-failed", "no start of the fit converged", hint="the table's points may be too few")
    return np.asarray(min(good, key=lambda fit: float(fit.cost)).x)


def _named(rows: list[Row], wanted: Sequence[tuple[str, float]], path: Path) -> list[Row]:
    """One row for each model and multiple; `BadInput` names those that are missing."""
    found = {(row["model"], float(row["cc_mult"])): row for row in rows}
    missing = [f"{model} at {multiple:g}" for model, multiple in wanted if (model, multiple) not in found]
    if missing:
        message = f"the fit needs runs that are not there, or lack numbers: {', '.join(missing)}"
        raise BadInput.of("runs-missing", message, path.name)
    return [found[key] for key in wanted]


def _predicted_as(row: Row, rows: list[Row]) -> str | None:
    """How a row is called whose loss is predicted: the largest model, and the most over-trained of the next."""
    multiple = float(row["cc_mult"])
    if row["model"] == LARGE and multiple == 1:
        return "6.9B_M20"
    most = max((float(other["cc_mult"]) for other in rows if other["model"] == SMALL), default=0.0)
    return f"1.4B_M{20 * multiple:.0f}" if row["model"] == SMALL and multiple == most else None


def _compare(
    report: RecipeReport, name: str, row: Row, law: Sequence[float], decay: Sequence[float], benchmark: str
) -> None:
    """Predicted loss and error of a run, and by how many percent they miss."""
    n, m = floats([row], "N"), floats([row], "M")
    predicted = loss(law, n, m)
    for kind, value, truth in (
        ("loss", predicted, floats([row], "loss_c4_val")),
        (benchmark, error(decay, predicted), floats([row], f"err_{benchmark}")),
    ):
        suffix = "_c4val" if kind == "loss" else ""
        report.add(f"pred_{kind}_{name}{suffix}", float(value[0]))
        with np.errstate(divide="ignore", invalid="ignore"):
            missed = 100 * np.abs(value - truth) / truth
        report.add(f"rel_err_pct_{kind}_{name}{suffix}", float(missed[0]))
