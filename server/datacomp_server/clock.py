"""Time and identifiers, in one place so that tests can hold them still."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A new unguessable identifier: 16 hex digits, fit for a URL."""
    return secrets.token_hex(8)
