"""Digests: the names by which manifests refer to data. All are lower-case SHA-256 hex."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BLOCK = 1 << 20


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal values give equal bytes. NaN is refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_json(value: Any) -> str:
    """Digest of a JSON-like value."""
    return digest_bytes(canonical_json(value))


def digest_bytes(data: bytes) -> str:
    """Digest of bytes."""
    from hashlib import sha256  # takes longer to import than some commands to run

    return sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Digest of a file's content, read in 1 MiB blocks."""
    from hashlib import sha256

    sha = sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            sha.update(block)
    return sha.hexdigest()
