"""Passwords (argon2id) and random secrets (stored as SHA-256 only)."""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from datacomp.digests import digest_bytes

TOKEN_PREFIX = "dc_"  # noqa: S105 - lets people and secret scanners recognise a token
_hasher = PasswordHasher()


@cache
def _nobodys_hash(hasher: PasswordHasher) -> str:
    """Made when the first password is checked, whoever's it is: what only imports this module must start quickly."""
    return hasher.hash(secrets.token_hex(16))


def hash_password(password: str) -> str:
    """Salted argon2id hash."""
    return _hasher.hash(password)


def password_matches(stored: str | None, password: str) -> bool:
    """Whether the password is right; takes as long when there is no such account (`stored` None)."""
    nobodys = _nobodys_hash(_hasher)
    try:
        return _hasher.verify(stored or nobodys, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with weaker parameters than those of today."""
    return _hasher.check_needs_rehash(stored)


def new_secret() -> str:
    """A new token: prefix and 256 random bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """What is stored of a token. Its 256 random bits need no slow hash."""
    return digest_bytes(secret.encode("utf-8", "replace"))
