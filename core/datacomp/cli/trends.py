"""`datacomp scaling trend`, `rank-agreement` and `back-test`: methods across scales, from a server or a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from datacomp.cli.scaling import scaling_commands as commands
from datacomp.console import console
from datacomp.messages import CoverageOut, Figure, Series, Track, TrendOut, TrendsOut
from datacomp.problems import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datacomp.scaling.backtest import BackTest
    from datacomp.scaling.trends import Question

__all__ = ["commands"]

File = Annotated[Path | None, typer.Option("--file", help="A table of scores (CSV) instead of the server's boards.")]
X = Annotated[str, typer.Option("--x", help="What errors are plotted against: macs (of training) or samples (seen).")]
MetricName = Annotated[
    str, typer.Option("--metric", help="average, main, a group (group:vtab) or a task (task:imagenet1k).")
]
TrackOption = Annotated[Track, typer.Option(help="Track of the server's boards.")]
SuiteOption = Annotated[
    str | None, typer.Option("--suite", help="Suite of the server's boards; default: of the first board.")
]
WIDE = 100
"""Columns of a terminal that has room for all figures."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@commands.command("trend")
def trend(
    method: Annotated[str | None, typer.Argument(help="Methods whose name holds this; default all.")] = None,
    file: File = None,
    x: X = "macs",
    metric: MetricName = "average",
    track: TrackOption = Track.FILTERING,
    suite: SuiteOption = None,
    as_json: Json = False,
) -> None:
    """Describe methods across scales, and what to expect of them one scale up, with intervals and warnings."""
    found = _overview(method, file, x, metric, track, suite)
    if as_json:
        print(found.model_dump_json(indent=2))  # noqa: T201
        return
    _show_agreements(found)
    if not found.trends:
        console.print("no method was entered at two scales" if method is None else f"no method is called {method!r}")
    for each in found.trends:
        _show_trend(each)
    if found.left_out:
        console.print(f"{found.left_out} more methods: name one")
    for crossing in found.crossings[:20]:
        kind = "by the scores themselves" if crossing.measured else "by the fitted curves alone"
        names = f"{escape(crossing.first)} falls behind {escape(crossing.second)}"
        console.print(f"[yellow]crossing[/] {names} {crossing.between}, at {crossing.x:.2g} ({kind})")
    if (more := len(found.crossings) - 20) > 0:
        console.print(f"{more} more crossings: --json shows all")
    _show_coverage("entries run here", found.coverage)
    _show_coverage("rows of tables, as if entered by scale", found.published_coverage)


@commands.command("rank-agreement")
def rank_agreement(
    file: File = None,
    metric: MetricName = "average",
    track: TrackOption = Track.FILTERING,
    suite: SuiteOption = None,
    as_json: Json = False,
) -> None:
    """Say how well the order of methods at small scales tells their order at large ones."""
    found = _overview(None, file, "macs", metric, track, suite)
    if as_json:
        fields = {"metric", "agreements", "published_agreements"}
        print(found.model_dump_json(indent=2, include=fields))  # noqa: T201
        return
    _show_agreements(found)


@commands.command("back-test")
def back_test(
    file: Annotated[Path, typer.Option("--file", help="A table of scores at three scales or more (CSV).")],
    x: X = "macs",
    metric: MetricName = "average",
    as_json: Json = False,
) -> None:
    """Expect known scores from the scales below them: how far off, how often inside the interval, in which order."""
    from datacomp.scaling.backtest import back_tests, left_out_coverage, other_step_coverage

    series, question, _ = _read(file, metric, x)
    tests = [*back_tests(series, question, most=2)]
    tests += [test for test in back_tests(series, question) if test.points > 2]
    if not tests:
        raise BadInput.of("too-few-scales", "no method has scores at three scales", where=str(file))
    steps = [_step(tests, points, scale) for points, scale in dict.fromkeys((t.points, t.scale) for t in tests)]
    held = {
        "left_out": left_out_coverage(series, question).model_dump(),
        "other_steps": other_step_coverage(series, question).model_dump(),
    }
    if as_json:
        print(json.dumps({"metric": metric, "steps": steps, "coverage": held}, indent=2))  # noqa: T201
        return
    columns = ("scales", "to", "methods", "mean miss", "bias", "log miss", "pairs right", "by last")
    table = Table(
        *columns, box=SIMPLE_HEAD, caption="by last: pairs that the largest scale seen puts in the right order"
    )
    for step in steps:
        pairs = [f"{step[name]:.3f}" if step["pairs"] else "" for name in ("pairs_by_forecast", "pairs_by_last")]
        misses = [f"{step[name]:.4f}" for name in ("mean_miss", "bias", "rms_log_miss")]
        table.add_row(str(step["points"]), str(step["scale"]), str(step["methods"]), *misses, *pairs)
    console.print(table)
    _show_coverage("intervals from the misses of the other methods", CoverageOut.model_validate(held["left_out"]))
    _show_coverage("intervals from the misses at other steps", CoverageOut.model_validate(held["other_steps"]))


def _overview(method: str | None, file: Path | None, x: str, metric: str, track: Track, suite: str | None) -> TrendsOut:
    """From a table, or as the server works it out by the same function."""
    if file is None:
        from datacomp.client import Client

        return Client.from_login().trends(track=track, suite=suite, metric=metric, x=x, method=method)
    from datacomp.scaling.overview import overview

    series, question, name = _read(file, metric, x)
    return overview(series, question, track=track, suite=name, method=method)


def _read(file: Path, metric: str, x: str) -> tuple[list[Series], Question, str]:
    """Series of a table, and what is asked of them."""
    from datacomp.published.tables import DEFAULT_SUITE, read_published
    from datacomp.scaling.metrics import Metric
    from datacomp.scaling.sources import table_series
    from datacomp.scaling.trends import UNITS, Question
    from datacomp.suite import load_suite

    if x not in UNITS:
        raise BadInput.of("axis-unknown", f"there is no axis {x!r}", where="--x", hint=f"choose {' or '.join(UNITS)}")
    suite = load_suite(DEFAULT_SUITE)
    asked = Metric.parse(metric, suite)
    series = table_series(read_published(file), asked)
    if not series:
        raise BadInput.of("metric-absent", f"the table has no scores of {asked}", where=str(file))
    return series, Question(asked, x, asked.chance(suite)), suite.id


def _step(tests: Sequence[BackTest], points: int, scale: str) -> dict[str, float | str | None]:
    from datacomp.scaling.backtest import measure, ranking

    chosen = [test for test in tests if (test.points, test.scale) == (points, scale)]
    expected, last, pairs = ranking(chosen)
    return {
        "points": points,
        "scale": scale,
        "methods": len(chosen),
        "mean_miss": sum(abs(test.miss) for test in chosen) / len(chosen),
        "bias": sum(test.miss for test in chosen) / len(chosen),
        "rms_log_miss": measure(chosen)[min(points, 3)].rms,
        "pairs": pairs,
        "pairs_by_forecast": expected if pairs else None,
        "pairs_by_last": last if pairs else None,
    }


def _show_agreements(found: TrendsOut) -> None:
    rows = [("run here", each) for each in found.agreements]
    rows += [("tables", each) for each in found.published_agreements]
    if not rows:
        console.print("no two scales have three methods in common: nothing is known of how well small scales rank")
        return
    wide = console.width >= WIDE
    table = Table(
        "scales", *(["from"] if wide else []), "methods", "pairs in the same order", "Spearman", box=SIMPLE_HEAD
    )
    table.title = f"Does the order at a small scale hold at a large one? ({found.metric})"
    if wide:
        table.add_column("Kendall")
    for kind, each in rows:
        line = [f"{each.small} to {each.large}", *([kind] if wide else []), str(each.methods)]
        figures = [each.pairwise, each.spearman, *([each.kendall] if wide else [])]
        table.add_row(*line, *(f"{fig.value:.2f} \\[{fig.lo:.2f}, {fig.hi:.2f}]" for fig in figures))
    console.print(table)


def _interval(figure: Figure) -> str:
    return f"{figure.value:.3f} \\[{figure.lo:.3f}, {figure.hi:.3f}]"


def _show_trend(each: TrendOut) -> None:
    scores = ", ".join(f"{point.scale} {point.score:.3f}" for point in each.series.points)
    by = f" [dim]{escape(each.series.by)}, not run here[/]" if each.series.published and each.series.by else ""
    console.print(f"[bold]{escape(each.series.method)}[/]{by}: {scores}", highlight=False)
    if each.law is not None and each.exponent is not None:
        note = f"; {each.note}" if each.note else ""
        console.print(f"  {each.law}, exponent {_interval(each.exponent)}{note}", highlight=False)
    elif each.note:
        console.print(f"  {each.note}")
    if (expected := each.forecast) is not None:
        others = "".join(f"; {name}: {score:.3f}" for name, score in expected.alternatives.items())
        bounds = f"{expected.score:.3f} \\[{expected.lo:.3f}, {expected.hi:.3f}]"
        console.print(f"  extrapolated to {expected.scale}: {bounds}{others}", highlight=False)
    for caution in each.cautions:
        console.print(f"  [yellow]note:[/] {escape(caution.text)}", highlight=False)


def _show_coverage(what: str, held: CoverageOut) -> None:
    if held.forecasts and held.mean_miss is not None:
        share = f"{held.inside} of {held.forecasts} scores fell into their 95% interval"
        console.print(f"{what}: {share}; mean miss {held.mean_miss:.3f}", highlight=False)
