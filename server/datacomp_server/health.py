"""`/healthz` (the process answers) and `/readyz` (it can do its work)."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from datacomp.messages import Message
from datacomp_server.dependencies import DatabaseDep, StorageDep
from datacomp_server.errors import refusals
from datacomp_server.schema import require_newest

router = APIRouter(tags=["health"])


class Health(Message):
    """How the server is."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz", responses=refusals())
def readyz(database: DatabaseDep, storage: StorageDep) -> Health:
    """Database, schema and storage are in order; 503 says which is not."""
    require_newest(database)
    storage.check()
    return Health()
