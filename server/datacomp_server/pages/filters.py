"""How values are written on pages. Every function takes plain values and returns text; escaping is Jinja's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from markupsafe import Markup, escape

NOTHING = "–"
"""Shown where there is no value: never a zero, never an empty cell."""

KIB = 1024
MINUTE, HOUR, DAY = 60, 3600, 86_400


def number(value: float | None) -> str:
    """A count with narrow no-break spaces between thousands: `12 800 000`."""
    if value is None:
        return NOTHING
    whole = value if isinstance(value, int) else round(value)
    return f"{whole:,}".replace(",", "\u202f")


def score(value: float | None) -> str:
    """A score as the papers print it, three decimals."""
    return NOTHING if value is None else f"{value:.3f}"


def delta(value: float | None) -> str:
    """A difference with its sign; a true minus, not a hyphen."""
    if value is None:
        return NOTHING
    text = f"{abs(value):.3f}"
    if float(text) == 0:
        return f"±{text}"
    return f"+{text}" if value > 0 else f"\u2212{text}"


def figure(value: float | None) -> str:
    """Four significant digits, for losses, rates and the like."""
    if value is None:
        return NOTHING
    if float(value).is_integer() and abs(value) < 1e15:
        return number(int(value))
    return f"{value:.4g}"


def size(value: int | None) -> str:
    """Bytes in the unit that reads best."""
    if value is None:
        return NOTHING
    amount = float(value)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < KIB or unit == "GiB":
            break
        amount /= KIB
    return f"{value} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"


def moment(value: datetime | None) -> str:
    """Date and time in UTC: `24 Nov 2026, 02:21:33 UTC`."""
    return NOTHING if value is None else f"{value.astimezone(UTC):%-d %b %Y, %H:%M:%S} UTC"


def day(value: datetime | None) -> str:
    """ISO date in UTC: sorts and reads the same everywhere."""
    return NOTHING if value is None else f"{value.astimezone(UTC):%Y-%m-%d}"


def clock(value: datetime) -> str:
    """Time of day in UTC, where the date stands beside it."""
    return f"{value.astimezone(UTC):%H:%M:%S} UTC"


def iso(value: datetime) -> str:
    """Machine-readable time for `<time datetime>`."""
    return value.astimezone(UTC).isoformat(timespec="seconds")


def duration(value: timedelta | float | None) -> str:
    """A span of time in two units at most: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`, `4 d 6 h`."""
    if value is None:
        return NOTHING
    seconds = max(value.total_seconds() if isinstance(value, timedelta) else value, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02d} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE:02d} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def short(digest: str | None) -> str:
    """The first twelve digits of a digest."""
    return NOTHING if digest is None else digest[:12]


def scientific(value: float | None) -> str:
    """`9.5e+17` as people write it: `9.5 × 10¹⁷`."""
    if value is None:
        return NOTHING
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa} × 10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def sentence(value: str) -> str:
    """The text with a capital first letter; problems are written without, as they also follow a colon elsewhere."""
    return value[:1].upper() + value[1:]


def coded(value: str) -> Markup:
    """Text whose `parts in backticks` are set as code, as terminals and hints write commands."""
    pieces = value.split("`")
    if len(pieces) % 2 == 0:
        return escape(value)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


def safe_link(value: str) -> str | None:
    """The address if it is an absolute http(s) one with a host and no credentials; else None, so it is shown as text.

    Browsers drop control characters and blanks when they read an address, so one that has any is not trusted.
    """
    if not value or any(ord(character) <= 32 or ord(character) == 127 or character == "\\" for character in value):
        return None
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme.lower() not in {"http", "https"} or not host or "@" in parts.netloc:
        return None
    return value


ALL = (number, score, delta, figure, size, moment, day, clock, iso, duration, short, sentence, coded, safe_link)
