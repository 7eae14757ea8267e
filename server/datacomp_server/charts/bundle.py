"""Where browsers find the script behind charts that answer to a pointer."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

BUNDLE = "/charts/vega.js"


@cache
def bundle_url() -> str:
    """Its address, with its version so that browsers may keep it for ever."""
    return f"{BUNDLE}?v={version('vl-convert-python')}"
