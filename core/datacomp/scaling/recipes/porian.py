"""Porian et al. 2024, "Resolving discrepancies in compute-optimal scaling of language models" (arXiv:2406.19146).

For every compute budget the best model size is the minimum of an Akima interpolation of log loss over log size; how
sure it is comes from 1,000 bootstraps that add noise to the losses. The exponent of size over compute is a weighted
least-squares fit, once for each correction of Kaplan et al.'s protocol that the table's settings name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datacomp.scaling.recipes.report import Floats, RecipeReport, Row, choose, floats, read_table, with_numbers

SETTING = ("hparams", "warmup", "decay", "flop_count", "loss_kind")
NOISE = {"rw": 0.002, "owt2": 0.01}
"""Constant standard deviation of the noise of a loss, by dataset (RefinedWeb, OpenWebText2)."""
BOOTSTRAPS = 1000
PER_GAP = 25
"""Grid points between two sizes."""
FLOOR = 0.33
"""Smallest standard deviation of ln N*, in gaps between two sizes."""
LEAST_LOSS = 1e-9
COLUMNS = ("dataset", *SETTING, "flops", "n", "loss")
OPTIMA = ("dataset", *SETTING, "flops", "n_star", "ln_n_star_sd")
"""Columns of a table of optima that were found already."""


@dataclass(frozen=True)
class Optimum:
    """The best size at one budget. `sd` is of ln N*."""

    flops: float
    size: float
    sd: float
    draws: Floats
    """ln N* of the bootstraps that were kept."""


def run(data: Path, dataset: str = "rw", *, seed: int = 0) -> RecipeReport:
    """The recipe on `porian_isoflop_points.csv` for one dataset: an exponent for each of its settings.

    Of `porian_optimal_points.csv`, which has the optima already, the exponents alone are fitted.
    """
    found_already = "n_star" in read_table(data, ())[0]
    columns = OPTIMA if found_already else COLUMNS
    rows = choose(read_table(data, columns), "dataset", dataset, data)
    report = RecipeReport("porian", {"data": data.name, "dataset": dataset})
    rows = with_numbers(rows, columns[len(SETTING) + 1 :], report)
    if not found_already:
        report.inputs["noise"] = NOISE.get(dataset, min(NOISE.values()))
        if dataset not in NOISE:
            report.warnings.append(f"no noise is known for {dataset!r}: {report.inputs['noise']} is assumed")
    for setting in dict.fromkeys(tuple(row[name] for name in SETTING) for row in rows):
        chosen = [row for row in rows if tuple(row[name] for name in SETTING) == setting]
        rng = np.random.default_rng(seed)
        optima = known_optima(chosen, rng) if found_already else optima_of(chosen, report.inputs["noise"], rng)
        name = ".".join(setting)
        if len({optimum.flops for optimum in optima}) < 2:
            report.warnings.append(f"{name}: {len(optima)} budgets have an optimum inside their sizes")
            continue
        report.add(f"{name}.exponent_a", exponent(optima), _interval(optima, rng))
    return report


def known_optima(rows: list[Row], rng: np.random.Generator) -> list[Optimum]:
    """Optima as a table has them, with draws from their standard deviations."""
    numbers = zip(*(floats(rows, name) for name in OPTIMA[len(SETTING) + 1 :]), strict=True)
    return [
        Optimum(float(flops), float(size), float(sd), rng.normal(np.log(size), sd, BOOTSTRAPS))
        for flops, size, sd in numbers
    ]


def optima_of(rows: list[Row], noise: float, rng: np.random.Generator) -> list[Optimum]:
    """The best size at every budget that has one, by compute."""
    flops, sizes, losses = floats(rows, "flops"), floats(rows, "n"), floats(rows, "loss")
    found = []
    for budget in np.unique(flops):
        here = flops == budget
        different, place = np.unique(sizes[here], return_inverse=True)
        lowest = np.full(different.size, np.inf)
        np.minimum.at(lowest, place, losses[here])  # of several runs of a size the best counts
        optimum = optimum_of(float(budget), different, lowest, noise, rng)
        if optimum is not None:
            found.append(optimum)
    return found


def optimum_of(budget: float, sizes: Floats, losses: Floats, noise: float, rng: np.random.Generator) -> Optimum | None:
    """The best of some sizes, ascending, with their losses; None where half of the bootstraps find it on an edge."""
    if sizes.size < 3:
        return None
    grid = np.linspace(np.log(sizes[0]), np.log(sizes[-1]), PER_GAP * (sizes.size - 1))
    noisy = np.maximum(losses + rng.normal(0, noise, (BOOTSTRAPS, sizes.size)), LEAST_LOSS)
    lowest = _interpolate(np.log(sizes), np.log(noisy), grid).argmin(axis=1)
    kept = grid[lowest[(lowest > 0) & (lowest < grid.size - 1)]]
    if 2 * kept.size < BOOTSTRAPS:
        return None
    floor = FLOOR * PER_GAP * (grid[1] - grid[0])
    sd = max(float(kept.std()), floor) * BOOTSTRAPS / kept.size
    return Optimum(budget, float(np.exp(np.median(kept))), sd, kept)


def _interpolate(x: Floats, y: Floats, grid: Floats) -> Floats:
    """Akima's interpolation of every row of y (rows, points) at the grid."""
    from scipy.interpolate import Akima1DInterpolator

    values: Floats = Akima1DInterpolator(x, y, axis=1)(grid)
    return values


def exponent(optima: list[Optimum], log_sizes: Floats | None = None) -> float:
    """Slope of ln N* on ln C, weighted by 1 / sd^2."""
    x = np.log([optimum.flops for optimum in optima])
    y = np.log([optimum.size for optimum in optima]) if log_sizes is None else log_sizes
    weights = 1 / np.array([optimum.sd for optimum in optima])  # polyfit squares them
    return float(np.polyfit(x, y, 1, w=weights)[0])


def _interval(optima: list[Optimum], rng: np.random.Generator) -> tuple[float, float]:
    """Percentiles of the slope over draws from every budget's bootstraps."""
    draws = np.stack([rng.choice(optimum.draws, BOOTSTRAPS) for optimum in optima], axis=1)
    slopes = [exponent(optima, row) for row in draws]
    lo, hi = np.percentile(slopes, [2.5, 97.5])
    return float(lo), float(hi)
