"""The stylesheet: every pair of colours that carries text has the contrast of WCAG AA, in the light and in the dark."""

import re

import pytest

from datacomp_server.resources import web_dir

CSS = (web_dir() / "static" / "style.css").read_text()
ROOTS = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
LIGHT, DARK = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", root)) for root in ROOTS)
GROUNDS = ("paper", "card", "sunken")
TEXTS = [(text, ground) for text in ("ink", "muted", "accent", "good", "bad") for ground in GROUNDS] + [
    ("good", "good-wash"),
    ("bad", "bad-wash"),
    ("now", "now-wash"),
    ("accent-ink", "accent"),
]
SHAPES = [("accent", "card"), ("muted", "card"), ("bad", "paper"), ("good", "paper"), ("now", "paper")]
"""Focus rings, borders of fields, marks of the timeline: 3 to 1 is enough."""


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_measured_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_is_readable(colours: dict[str, str]) -> None:
    poor = {f"{a} on {b}": contrast(colours[a], colours[b]) for a, b in TEXTS if contrast(colours[a], colours[b]) < 4.5}
    assert not poor
    faint = {f"{a} on {b}": contrast(colours[a], colours[b]) for a, b in SHAPES if contrast(colours[a], colours[b]) < 3}
    assert not faint


def test_both_schemes_have_the_same_colours_and_nothing_else_has() -> None:
    assert LIGHT.keys() == DARK.keys()
    rules = re.sub(r":root \{.*?\}", "", CSS, flags=re.DOTALL)
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b", rules)


def test_every_class_of_the_stylesheet_is_used() -> None:
    written = "".join(path.read_text() for path in (web_dir() / "templates").glob("*.html"))
    unused = {name for name in re.findall(r"\.([a-z][\w-]*)", re.sub(r"\d\.\d", "", CSS)) if name not in written}
    assert unused <= {"next", "visible"}, unused  # the latter is the tooltip's of live charts
