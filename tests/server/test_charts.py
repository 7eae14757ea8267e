"""Charts are drawn in a process of their own, as SVG and as Vega-Lite."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from datacomp.problems import PlatformFault
from datacomp_server.charts.kinds import (
    Chart,
    Course,
    Courses,
    Curves,
    Difference,
    Differences,
    Dot,
    Dots,
    Look,
    Mark,
    Shares,
    Strip,
    Tick,
)
from datacomp_server.charts.studio import Studio

SIZES = Dots(
    "samples", "average", (Dot("best", 1000, 0.3, Mark.ENTRY, 0.28, 0.32), Dot("all", 9000, 0.2, Mark.BASELINE))
)
EVERY: list[tuple[Chart, str, int]] = [
    (SIZES, "baseline", 2),
    (
        Strip(
            "score",
            ("shapes", "digits"),
            (Tick("shapes", "best", 0.4), Tick("digits", "best", 0.2)),
            (("shapes", 0.1),),
        ),
        "digits",
        2,
    ),
    (Curves("samples seen", "loss", (("seed 0", ((0, 8.0), (64, 6.5), (128, 6.0))),)), "loss", 1),
    (Shares("language", ("en", "fr"), (9, 1), (5, 5)), "whole pool", 2),
    (Differences("difference", (Difference("shapes", 0.1, 0.02, 0.18), Difference("digits", -0.1))), "digits", 2),
    (
        Courses(
            "compute",
            "error",
            (
                Course("rising", ((1e16, 0.9), (1e17, 0.8)), (1e18, 0.7, 0.6, 0.8)),
                Course("alone", ((1e16, 0.95), (1e17, 0.9))),
            ),
        ),
        "rising",
        5,
    ),
]


@pytest.fixture(scope="module", name="studio")
def one_studio() -> Iterator[Studio]:
    studio = Studio()
    yield studio
    studio.close()


@pytest.mark.parametrize(("chart", "word", "marks"), EVERY, ids=lambda value: type(value).__name__)
def test_every_chart_shows_its_data(studio: Studio, chart: Chart, word: str, marks: int) -> None:
    svg = ElementTree.fromstring(studio.svg(chart, Look()))
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert word in texts
    drawn = [path for path in svg.iter("{http://www.w3.org/2000/svg}path") if path.get("role") == "graphics-symbol"]
    assert len(drawn) >= marks
    assert json.loads(studio.spec(chart, Look()))["$schema"].startswith("https://vega.github.io/schema/vega-lite/v6")


def test_a_chart_fits_theme_and_width_and_is_drawn_once(studio: Studio) -> None:
    light, dark, narrow = (studio.svg(SIZES, look) for look in (Look(), Look(dark=True), Look(narrow=True)))
    assert "#7db9e8" in dark
    assert "#7db9e8" not in light
    width = [float(ElementTree.fromstring(svg).get("width", "")) for svg in (light, narrow)]
    assert width[1] < 400 < width[0]
    assert studio.svg(SIZES, Look()) is light


def test_charts_that_differ_in_their_data_are_made_once(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    studio.spec(Shares("words", ("few", "many"), (1, 2), (3, 4)), Look())
    monkeypatch.setattr(studio, "_ask", None)
    other = json.loads(studio.spec(Shares("words", ("few", "many"), (9, 1), (5, 5)), Look()))
    assert other["data"]["name"] in other["datasets"]
    shares = [row["share"] for rows in other["datasets"].values() for row in rows]
    assert shares == [0.9, 0.1, 0.5, 0.5]


def test_what_methods_are_called_cannot_end_a_chart(studio: Studio) -> None:
    name = "</text><script>alert(1)</script>"
    drawing = studio.svg(Dots("samples", "average", (Dot(name, 1, 0.1), Dot("b", 2, 0.2))), Look())
    assert "<script" not in drawing
    tasks = studio.svg(Strip(name, (name,), (Tick(name, "b", 0.2),)), Look())
    assert "<script" not in tasks


def test_a_drawing_process_that_dies_is_replaced() -> None:
    studio = Studio()
    try:
        studio.svg(SIZES, Look())
        assert studio._pool is not None
        process = next(iter(studio._pool._processes.values()))
        assert process.pid != os.getpid()
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join(10)
        with pytest.raises(PlatformFault, match="chart-not-drawn"):
            studio.svg(SIZES, Look(dark=True))
        assert "baseline" in studio.svg(SIZES, Look(dark=True))
    finally:
        studio.close()


def test_the_bundle_sets_the_function_that_the_page_calls(studio: Studio) -> None:
    assert "window.vegaEmbed" in studio.bundle()
