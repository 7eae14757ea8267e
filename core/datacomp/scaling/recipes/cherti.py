"""Cherti et al. 2022, "Reproducible scaling laws for contrastive language-image learning" (arXiv:2212.07143).

A power law of error over compute, E = beta C^alpha: for OpenCLIP's models the smallest error in each of five bins of
log compute, placed at the bin's centre, for CLIP's own models the points themselves; ordinary least squares in log10.
The authors give no intervals; ours are percentiles of a bootstrap over models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datacomp.problems import BadInput
from datacomp.scaling.recipes.report import Floats, RecipeReport, Row, choose, floats, read_table

BINS, PAD = 5, 0.1
CLIP_DATA = "CLIP-WIT"
METRICS = ("acc1", "image_retrieval_recall@5", "mean_average_precision")
"""The first that a benchmark has is its accuracy: top-1, image recall for retrieval, precision for many labels."""
SAMPLES = {"3B": 80_000_415 * 32, "13B": 407_332_084 * 32, "34B": 407_332_084 * 84, "68B": 407_332_084 * 168}
"""Samples that the paper's names stand for: epochs over its datasets."""
ARCHITECTURES = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-H-14", "ViT-g-14", "ViT-G-14")
UNTRAINED = {"ViT-G-14": 532.92}
"""GMACs per sample of an architecture that nobody had trained yet, from the paper's table of architectures."""
BOOTSTRAPS = 2000
COLUMNS = ("arch", "gmacs_total", "gmacs", "upstream_dataset", "downstream_dataset", "acc1", "samples_seen_pretty")


@dataclass(frozen=True)
class PowerLaw:
    """log10 E = alpha log10 C + intercept."""

    alpha: float
    intercept: float

    def error(self, compute: Floats | float) -> Floats:
        """Predicted errors at some compute, in the unit that the law was fitted in."""
        return np.asarray(10 ** (self.alpha * np.log10(compute) + self.intercept))


def fit(log_compute: Floats, log_error: Floats) -> PowerLaw:
    """Ordinary least squares; NaN with fewer than two different points."""
    if np.unique(log_compute).size < 2:
        return PowerLaw(np.nan, np.nan)
    x = log_compute - log_compute.mean()
    alpha = float(x @ log_error / (x @ x))
    return PowerLaw(alpha, float(log_error.mean() - alpha * log_compute.mean()))


def binned(log_compute: Floats, log_error: Floats) -> tuple[Floats, Floats]:
    """Centres of the non-empty bins, and the smallest error in each."""
    edges = np.linspace(log_compute.min(), log_compute.max() + PAD, BINS + 1)
    bins = np.clip(np.digitize(log_compute, edges) - 1, 0, BINS - 1)
    used = np.unique(bins)
    centres = (edges[:-1] + edges[1:]) / 2
    return centres[used], np.array([log_error[bins == number].min() for number in used])


def run(data: Path, benchmark: str = "imagenet1k") -> RecipeReport:
    """The recipe on `cherti_zeroshot_results.csv` for one downstream dataset.

    Error is 1 - accuracy, see `METRICS`.
    """
    rows = choose(read_table(data, COLUMNS), "downstream_dataset", benchmark, data)
    report = RecipeReport("cherti", {"data": data.name, "benchmark": benchmark})
    for family in ("openclip", "clip"):
        members = [row for row in rows if (row["upstream_dataset"] == CLIP_DATA) == (family == "clip")]
        compute, error = _points(members)
        if compute.size < 2:
            report.warnings.append(f"{family}: {compute.size} models have this benchmark, at least 2 are needed")
            continue
        law = _law(family, compute, error)
        report.add(f"{family}.exponent_alpha", law.alpha, _interval(family, compute, error))
        report.add(f"{family}.beta", 10**law.intercept)
        if family == "openclip":
            _predictions(report, law, members)
    if not report.quantities:
        raise BadInput.of("too-few-models", f"no family has two models on {benchmark}", where=data.name)
    return report


def _law(family: str, compute: Floats, error: Floats) -> PowerLaw:
    return fit(compute, error) if family == "clip" else fit(*binned(compute, error))


def _points(rows: list[Row]) -> tuple[Floats, Floats]:
    """log10 of compute and of error, of the models that have both."""
    compute, error = floats(rows, "gmacs_total"), 1 - _accuracy(rows)
    good = np.isfinite(compute) & np.isfinite(error) & (error > 0)
    return np.log10(compute[good]), np.log10(error[good])


def _accuracy(rows: list[Row]) -> Floats:
    found = (floats(rows, name) for name in METRICS if rows and name in rows[0])
    return next((values for values in found if np.isfinite(values).any()), np.full(len(rows), np.nan))


def _interval(family: str, compute: Floats, error: Floats) -> tuple[float, float] | None:
    """Percentiles of the exponent over models drawn with replacement; None for fewer than five models."""
    if compute.size < BINS:
        return None
    rng = np.random.default_rng(0)
    drawn = (rng.integers(0, compute.size, compute.size) for _ in range(BOOTSTRAPS))
    alphas = np.array([_law(family, compute[rows], error[rows]).alpha for rows in drawn])
    lo, hi = np.nanpercentile(alphas, [2.5, 97.5])
    return float(lo), float(hi)


def _predictions(report: RecipeReport, law: PowerLaw, rows: list[Row]) -> None:
    """Accuracy in percent of every architecture at every number of samples, and the mean miss where both are known."""
    gmacs = UNTRAINED | {row["arch"]: float(row["gmacs"]) for row in rows}
    accuracy = _accuracy(rows)
    misses = []
    for arch in ARCHITECTURES:
        for name, samples in SAMPLES.items():
            if arch not in gmacs:
                continue
            predicted = 100 * (1 - float(law.error(samples * gmacs[arch])))
            known = [
                100 * value
                for row, value in zip(rows, accuracy, strict=True)
                if row["arch"] == arch and row["samples_seen_pretty"] == name and np.isfinite(value)
            ]
            if known:
                misses.append(abs(predicted - max(known)))
            else:
                report.add(f"openclip.pred_{arch}_{name}", predicted)
    if misses:
        report.add("openclip.in_sample_MAE", float(np.mean(misses)))
