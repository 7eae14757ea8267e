"""Where files outside the Python packages lie: in the checkout, or inside the built wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]


def migrations_dir() -> Path:
    """The folder of the Alembic environment."""
    return _first(_PACKAGE / "_migrations", _CHECKOUT / "migrations")


def docs_dir() -> Path:
    """The folder of the documents in Markdown."""
    return _first(_PACKAGE / "_docs", _CHECKOUT / "docs")


def web_dir() -> Path:
    """The folder that holds `templates` and `static`."""
    return _first(_PACKAGE / "_web", _CHECKOUT / "web")


def _first(packaged: Path, checkout: Path) -> Path:
    return packaged if packaged.is_dir() else checkout
