"""From a chart's data to Vega-Lite and SVG. Runs in the drawing process alone: Altair takes a second to import."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import altair as alt
import vl_convert

from datacomp_server.charts.kinds import Chart, Courses, Curves, Differences, Dots, Look, Mark, Shares, Strip

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
WIDE, NARROW = 640, 300
"""Pixels of the drawing area, without axes."""
ROW = 22
"""Pixels that a row of a strip takes."""


@dataclass(frozen=True)
class Ink:
    """The style sheet's colours, by its names."""

    ink: str
    muted: str
    line: str
    accent: str
    now: str
    good: str


LIGHT = Ink("#1c2126", "#545c65", "#dcdfdc", "#0b5c8f", "#7a4f00", "#17683a")
DARK = Ink("#e6e8ea", "#a5adb5", "#343a41", "#7db9e8", "#ebc06b", "#77d19b")


def spec(chart: Chart, look: Look) -> str:
    """The chart as Vega-Lite, JSON."""
    ink = DARK if look.dark else LIGHT
    built = _build(chart, ink, NARROW if look.narrow else WIDE)
    return json.dumps(built.properties(background="transparent", config=_config(ink)).to_dict())


def svg(spec: str) -> str:
    """A Vega-Lite chart, drawn."""
    drawn: str = vl_convert.vegalite_to_svg(spec)
    return drawn


def bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script, which sets `vegaEmbed`; vl-convert carries them."""
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script


def _config(ink: Ink) -> alt.Config:
    return alt.Config(
        font=SANS,
        axis=alt.AxisConfig(
            labelColor=ink.muted,
            titleColor=ink.ink,
            gridColor=ink.line,
            domainColor=ink.line,
            tickColor=ink.line,
            labelFontSize=12,
            titleFontSize=13,
            titleFontWeight="normal",
            labelLimit=170,
        ),
        legend=alt.LegendConfig(labelColor=ink.ink, titleColor=ink.ink, labelFontSize=12, orient="top", title=None),
        view=alt.ViewConfig(stroke=None),
    )


def _rows(values: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=values)


def _marks(ink: Ink, shown: set[Mark]) -> dict[str, Any]:
    """Colour and shape of what points stand for: never told apart by colour alone."""
    every = {
        Mark.ENTRY: (ink.accent, "circle"),
        Mark.BASELINE: (ink.now, "diamond"),
        Mark.PUBLISHED: (ink.muted, "cross"),
    }
    kept = [mark for mark in Mark if mark in shown]
    domain = [mark.value for mark in kept]
    legend = alt.Legend() if len(kept) > 1 else None
    return {
        "color": alt.Color(
            "mark:N", scale=alt.Scale(domain=domain, range=[every[mark][0] for mark in kept]), legend=legend
        ),
        "shape": alt.Shape(
            "mark:N", scale=alt.Scale(domain=domain, range=[every[mark][1] for mark in kept]), legend=legend
        ),
    }


@singledispatch
def _build(chart: Chart, ink: Ink, width: int) -> alt.TopLevelMixin:
    raise TypeError(f"no drawing of {type(chart).__name__}")


@_build.register
def _(chart: Dots, ink: Ink, width: int) -> alt.TopLevelMixin:
    values = [
        {"label": dot.label, "x": dot.x, "y": dot.y, "mark": dot.mark.value, "low": dot.low, "high": dot.high}
        for dot in chart.dots
    ]
    scale = alt.Scale(type="log", nice=False, padding=12) if chart.log_x else alt.Scale(zero=False, padding=12)
    axis = alt.Axis(format="~s", grid=False, tickCount=5)
    base = alt.Chart(_rows(values)).encode(x=alt.X("x:Q", scale=scale, axis=axis, title=chart.x_title))
    marks = _marks(ink, {dot.mark for dot in chart.dots})
    tooltip = [
        alt.Tooltip("label:N", title="method"),
        alt.Tooltip("x:Q", title=chart.x_title, format=","),
        alt.Tooltip("y:Q", title=chart.y_title, format=".3f"),
    ]
    points = base.mark_point(filled=True, size=60, opacity=0.85).encode(
        y=alt.Y("y:Q", scale=alt.Scale(zero=False, padding=8), title=chart.y_title), tooltip=tooltip, **marks
    )
    layers: list[Any] = []
    if any(dot.low is not None for dot in chart.dots):
        bars = base.transform_filter("datum.low != null").mark_rule(opacity=0.5)
        layers.append(bars.encode(y=alt.Y("low:Q", title=chart.y_title), y2="high:Q", color=marks["color"]))
    return alt.layer(*layers, points).properties(width=width, height=280)


@_build.register
def _(chart: Strip, ink: Ink, width: int) -> alt.TopLevelMixin:
    values = [
        {"task": tick.task, "label": tick.label, "value": tick.value, "mark": tick.mark.value} for tick in chart.ticks
    ]
    order = list(chart.tasks)
    y = alt.Y("task:N", sort=order, title=None, axis=alt.Axis(grid=True, domain=False, ticks=False))
    x = alt.X(
        "value:Q", title=chart.title, scale=alt.Scale(zero=False, padding=8), axis=alt.Axis(grid=False, tickCount=6)
    )
    tooltip = [alt.Tooltip("label:N", title="method"), "task:N", alt.Tooltip("value:Q", title="score", format=".3f")]
    marks = _marks(ink, {tick.mark for tick in chart.ticks})
    scores = (
        alt.Chart(_rows(values))
        .mark_point(filled=True, size=44, opacity=0.6)
        .encode(x=x, y=y, tooltip=tooltip, **marks)
    )
    chance = [{"task": task, "value": value} for task, value in chart.chance]
    rule = alt.Chart(_rows(chance)).mark_tick(color=ink.ink, thickness=2, size=ROW - 6).encode(x="value:Q", y=y)
    return alt.layer(rule, scores).properties(width=max(width - 140, 200), height=ROW * len(order))


@_build.register
def _(chart: Curves, ink: Ink, width: int) -> alt.TopLevelMixin:
    values = [{"curve": name, "x": x, "y": y} for name, points in chart.curves for x, y in points]
    several = len(chart.curves) > 1
    colour: Any = (
        alt.Color("curve:N", scale=alt.Scale(range=[ink.accent, ink.now, ink.good, ink.muted]))
        if several
        else alt.value(ink.accent)
    )
    drawn: alt.Chart = (
        alt.Chart(_rows(values))
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("x:Q", title=chart.x_title, axis=alt.Axis(format="~s", grid=False, tickCount=5)),
            y=alt.Y("y:Q", title=chart.y_title, scale=alt.Scale(zero=False)),
            color=colour,
            tooltip=["curve:N", alt.Tooltip("x:Q", format=",", title=chart.x_title), alt.Tooltip("y:Q", format=".4f")],
        )
        .properties(width=width, height=200)
    )
    return drawn


@_build.register
def _(chart: Shares, ink: Ink, width: int) -> alt.TopLevelMixin:
    axis = alt.Axis(labelAngle=0 if max(map(len, chart.bins), default=0) <= 4 else -45, labelOverlap=True, grid=False)
    base = alt.Chart(_rows(chart.values)).encode(
        x=alt.X("bin:N", sort=list(chart.bins), title=chart.title, axis=axis),
        y=alt.Y("share:Q", title="share of rows", axis=alt.Axis(format="%", tickCount=4), stack=None),
        tooltip=["bin:N", "which:N", alt.Tooltip("rows:Q", format=","), alt.Tooltip("share:Q", format=".1%")],
    )
    scale = alt.Scale(domain=list(chart.names), range=[ink.accent, ink.muted])
    shown = base.encode(color=alt.Color("which:N", scale=scale, legend=alt.Legend() if chart.pool else None))
    is_bar = alt.datum.which == chart.names[0]
    bars = shown.transform_filter(is_bar).mark_bar(opacity=0.75)
    ticks = shown.transform_filter(~is_bar).mark_tick(thickness=2.5, bandSize=width / len(chart.bins))
    layers = [each for each, counts in ((bars, chart.kept), (ticks, chart.pool)) if sum(counts)]
    return alt.layer(*layers or [bars]).properties(width=width, height=180)


@_build.register
def _(chart: Differences, ink: Ink, width: int) -> alt.TopLevelMixin:
    values = [{"label": row.label, "value": row.value, "low": row.low, "high": row.high} for row in chart.rows]
    order = [row.label for row in chart.rows]
    y = alt.Y("label:N", sort=order, title=None, axis=alt.Axis(grid=True, domain=False, ticks=False))
    base = alt.Chart(_rows(values)).encode(y=y)
    tooltip = ["label:N", *(alt.Tooltip(f"{name}:Q", format="+.3f") for name in ("value", "low", "high"))]
    zero = alt.Chart(_rows([{"at": 0}])).mark_rule(color=ink.ink).encode(x="at:Q")
    spans = (
        base.transform_filter("datum.low != null")
        .mark_rule(color=ink.accent, strokeWidth=2)
        .encode(x="low:Q", x2="high:Q")
    )
    points = base.mark_point(filled=True, size=50, color=ink.accent).encode(
        x=alt.X(
            "value:Q",
            title=chart.title,
            scale=alt.Scale(padding=8),
            axis=alt.Axis(format="+.2f", grid=False, tickCount=6),
        ),
        tooltip=tooltip,
    )
    return alt.layer(zero, spans, points).properties(width=max(width - 140, 200), height=ROW * len(order))


@_build.register
def _(chart: Courses, ink: Ink, width: int) -> alt.TopLevelMixin:
    names = [each.label for each in chart.courses]
    label = width if width < WIDE else width // 2
    legend = alt.Legend(columns=1 if width < WIDE else 2, labelLimit=label, symbolLimit=len(names), symbolOpacity=1)
    colour = alt.Color("method:N", scale=alt.Scale(domain=names, scheme="tableau10"), legend=legend)
    shape = alt.Shape("method:N", scale=alt.Scale(domain=names), legend=legend)
    x, y = _logarithmic(chart)
    tooltip = ["method:N", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("y", "low", "high"))]
    measured, dashes, expected = (alt.Chart(_rows(rows)).encode(x=x, color=colour) for rows in _course_rows(chart))
    layers = (
        measured.mark_line(strokeWidth=1.5).encode(y=y),
        dashes.mark_line(strokeWidth=1.2, strokeDash=[4, 4]).encode(y=y),
        expected.mark_rule(opacity=0.45).encode(y=alt.Y("low:Q", title=chart.y_title), y2="high:Q"),
        expected.mark_point(filled=False, size=60).encode(y=y, shape=shape, tooltip=tooltip),
        measured.mark_point(filled=True, size=60, opacity=0.9).encode(y=y, shape=shape, tooltip=tooltip[:2]),
    )
    return alt.layer(*layers).properties(width=width, height=320)


def _course_rows(chart: Courses) -> tuple[list[dict[str, Any]], ...]:
    """What is measured, what leads from there to what is expected, and what is expected."""
    ahead = [(each, each.expected) for each in chart.courses if each.expected is not None]
    return (
        [{"method": each.label, "x": x, "y": y} for each in chart.courses for x, y in each.points],
        [{"method": each.label, "x": x, "y": y} for each, end in ahead for x, y in (each.points[-1], end[:2])],
        [{"method": each.label, "x": x, "y": y, "low": low, "high": high} for each, (x, y, low, high) in ahead],
    )


def _logarithmic(chart: Courses) -> tuple[alt.X, alt.Y]:
    """Axes just as wide as what is on them; from 0.1 to 1 where there is nothing."""
    heights = [y for each in chart.courses for _, y in each.points]
    heights += [y for each in chart.courses for y in (each.expected or ())[1:]]
    domain = [min(heights) * 0.95, max(heights) * 1.05] if heights else [0.1, 1]
    across = alt.Scale(type="log", nice=False, padding=14)
    upwards = alt.Scale(type="log", nice=False, domain=domain)
    return (
        alt.X("x:Q", title=chart.x_title, scale=across, axis=alt.Axis(format=".0e", grid=False, tickCount=5)),
        alt.Y("y:Q", title=chart.y_title, scale=upwards, axis=alt.Axis(format=".2f", tickCount=8)),
    )
