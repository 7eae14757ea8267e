"""Passwords are hashed as always, but cheaply: what makes guessing slow would make tests slow."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from argon2 import PasswordHasher

from datacomp_server.accounts import security


@contextmanager
def quick_passwords() -> Iterator[None]:
    """Hash them so until the end of this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(security, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        yield
