"""Refusals carry a status and problems; `handlers` makes answers of them.

Apart from those, because services refuse in processes that serve nobody: a dispatcher needs no web framework.
"""

from __future__ import annotations

from typing import Any

from datacomp.messages import ErrorOut
from datacomp.problems import BadInput, DatacompError, PlatformFault, Problem


class Refusal(DatacompError):
    """A request that is refused; subclasses say with which status."""

    status = 400
    retry_after: int | None = None
    """Seconds after which asking again may help."""


class Unauthorised(Refusal):
    """Nobody knows who is asking."""

    status = 401


class Forbidden(Refusal):
    """Known, but not allowed."""

    status = 403


class NotFound(Refusal):
    """There is no such thing, or it is none of the asker's business."""

    status = 404


class Conflict(Refusal):
    """The thing is in a state in which this cannot be done."""

    status = 409


class Gone(Refusal):
    """The thing was there and will not come back."""

    status = 410


class PreconditionFailed(Refusal):
    """The request speaks another version of a protocol."""

    status = 412


class TooLarge(Refusal):
    """More bytes than allowed or announced."""

    status = 413


class UnsupportedMedia(Refusal):
    """The body is not of the type that is taken here."""

    status = 415


class ChecksumMismatch(Refusal):
    """The body is not what its checksum says (a status of the tus protocol)."""

    status = 460


class QuotaSpent(Refusal):
    """The quota of the participant, or of the participant's team, is used up."""

    status = 429


class TooManyRequests(Refusal):
    """Asked too often; `retry_after` says when again."""

    status = 429


class OutOfSpace(PlatformFault):
    """There is no room for the file."""

    status = 507


MEANINGS = {
    400: "The request is malformed",
    401: "No valid token or session was given",
    403: "Not allowed for this account",
    404: "There is no such thing, or it is not visible to this account",
    409: "Not possible in the present state",
    410: "It has ended and will not come back",
    412: "Another version of the protocol is spoken here",
    413: "Too large",
    415: "The body is not of the type that is taken here",
    422: "The input is wrong; every problem is listed",
    429: "Quota used up, or asked too often",
    460: "The body does not have the checksum that was given",
    503: "The platform cannot do this now; try again",
    507: "The server has no room for the file",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the refusals an endpoint may answer with; 400, 422, 429 and 503 always belong to them."""
    every = sorted({*statuses, 400, 422, 429, 503})
    return {status: {"model": ErrorOut, "description": MEANINGS[status]} for status in every}


def status_of(error: DatacompError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, Refusal | OutOfSpace):
        return error.status
    if isinstance(error, BadInput):
        return 422
    return 503 if isinstance(error, PlatformFault) else 500


def database_problem(error: Exception) -> Problem:
    """What to say of a database that refused; nothing of the transaction is there."""
    cause = str(getattr(error, "orig", None) or error).lower()
    tell = "tell the organisers, then try again"
    if "disk is full" in cause or "no space left" in cause:
        return Problem(code="database-full", message="the database's disk is full", hint=tell)
    if "readonly database" in cause or "read-only" in cause:
        return Problem(code="database-read-only", message="the database cannot be written", hint=tell)
    return Problem(code="database-busy", message="the database did not answer in time", hint="try again in a moment")
