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
from datacomp.scaling.recipes.report import Floats, RecipeReport, Row, choose, floats, read_table, with_numbers

BINS, PAD = 5, 0.1
CLIP_DATA = "CLIP-WIT"
METRICS = ("acc1", "image_retrieval_recall@5", "mean_average_precision")
"""The first that a benchmark has is its accuracy: top-1, image recall for retrieval, precision for many labels."""
SAMPLES = {"1B": 1e9, "3B": 80_000_415 * 32, "13B": 407_332_084 * 32, "34B": 407_332_084 * 84, "68B": 407_332_084 * 168}
"""Samples that the paper's names stand for: epochs over its datasets."""
GMACS = {
    "ViT-B-32": 7.4,
    "ViT-B-16": 20.57,
    "ViT-L-14": 87.73,
    "ViT-H-14": 190.97,
    "ViT-g-14": 290.74,
    "ViT-G-14": 532.92,
}
"""GMACs per sample of the architectures that are predicted, from the paper's table of architectures."""
BOOTSTRAPS = 2000
COLUMNS = ("arch", "gmacs_total", "upstream_dataset", "downstream_dataset", "acc1", "samples_seen_pretty")


@dataclass(frozen=True)
class PowerLaw:
    """log10 E = alpha log10 C + intercept."""

    alpha: float
    intercept: float

    def accuracy(self, compute: float) -> float:
        """Predicted accuracy in percent at some compute."""
        return 100 * (1 - float(np.float64(10) ** (self.alpha * np.log10(compute) + self.intercept)))


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


def run(data: Path, benchmark: str = "imagenet1k", dataset: str | None = None) -> RecipeReport:
    """The recipe on `cherti_zeroshot_results.csv` for one downstream dataset.

    Error is 1 - accuracy, see `METRICS`. `dataset`: only models trained on it.
    """
    rows = choose(read_table(data, COLUMNS), "downstream_dataset", benchmark, data)
    report = RecipeReport("cherti", {"data": data.name, "benchmark": benchmark})
    if dataset is not None:
        rows = choose(rows, "upstream_dataset", dataset, data)
        report.inputs["dataset"] = dataset
    rows = with_numbers(rows, ("gmacs_total", _metric(rows)), report)
    for family in ("openclip", "clip"):
        members = [row for row in rows if (row["upstream_dataset"] == CLIP_DATA) == (family == "clip")]
        if members or dataset is None:
            _family(report, family, members)
    if not report.quantities:
        raise BadInput.of("too-few-models", f"no family has two models on {benchmark}", where=data.name)
    return report


def _metric(rows: list[Row]) -> str:
    """The metric that most models have; the first of equal ones."""
    known = [name for name in METRICS if name in rows[0]]
    return max(known, key=lambda name: int(np.isfinite(floats(rows, name)).sum()))


def _family(report: RecipeReport, family: str, rows: list[Row]) -> None:
    metric = _metric(rows) if rows else METRICS[0]
    error = 1 - floats(rows, metric)
    compute = floats(rows, "gmacs_total")[error > 0]
    if np.unique(compute).size < 2:
        report.warnings.append(f"{family}: {compute.size} models have this benchmark, at least 2 are needed")
        return
    log_compute, log_error = np.log10(compute), np.log10(error[error > 0])
    law, drawn = _law(family, log_compute, log_error), _drawn(family, log_compute, log_error)
    report.add(f"{family}.exponent_alpha", law.alpha, _interval([each.alpha for each in drawn]))
    report.add(f"{family}.beta", float(np.float64(10) ** law.intercept))
    if family == "openclip":
        _predictions(report, law, drawn, rows, floats(rows, metric))


def _law(family: str, compute: Floats, error: Floats) -> PowerLaw:
    return fit(compute, error) if family == "clip" else fit(*binned(compute, error))


def _drawn(family: str, compute: Floats, error: Floats) -> list[PowerLaw]:
    """Laws of models drawn with replacement; none for fewer than five models."""
    if compute.size < BINS:
        return []
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, compute.size, compute.size) for _ in range(BOOTSTRAPS))
    laws = (_law(family, compute[rows], error[rows]) for rows in draws)
    return [law for law in laws if np.isfinite(law.alpha)]


def _interval(values: list[float]) -> tuple[float, float] | None:
    if not values:
        return None
    lo, hi = np.percentile(values, [2.5, 97.5])
    return float(lo), float(hi)


def _predictions(report: RecipeReport, law: PowerLaw, drawn: list[PowerLaw], rows: list[Row], accuracy: Floats) -> None:
    """Accuracy in percent of every architecture at every number of samples, and the mean miss where it is known."""
    misses = []
    for arch, gmacs in GMACS.items():
        for name, samples in SAMPLES.items():
            compute = samples * gmacs
            predicted = law.accuracy(compute)
            interval = _interval([each.accuracy(compute) for each in drawn])
            report.add(f"openclip.pred_{arch}_{name}", predicted, interval)
            known = [
                100 * value
                for row, value in zip(rows, accuracy, strict=True)
                if row["arch"] == arch and row["samples_seen_pretty"] == name
            ]
            if known:
                misses.append(abs(predicted - max(known)))
    if misses:
        report.add("openclip.in_sample_MAE", float(np.mean(misses)))
