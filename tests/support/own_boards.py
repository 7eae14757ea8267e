"""A server with boards of a test's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from server_site import write_boards

from datacomp_server.settings import Settings


def with_boards(make_settings: Callable[..., Settings], folder: Path, text: str, **changes: Any) -> Settings:
    """Settings with another boards file than the usual one, which is written as well."""
    place = folder / "own-boards"
    place.mkdir()
    return make_settings(boards_file=write_boards(place, text), **changes)
