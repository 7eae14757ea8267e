"""What is checked before a submission is opened: every problem at once, before any quota is spent."""

from __future__ import annotations

from datacomp.checks import parse_choice
from datacomp.digests import digest_bytes
from datacomp.messages import SubmissionCreate, SubmissionKind, Track
from datacomp.problems import BadInput, Problem
from datacomp_server.boards.models import Board
from datacomp_server.boards.service import is_closed, is_open

ACCEPTED: dict[Track, frozenset[SubmissionKind]] = {
    Track.FILTERING: frozenset({SubmissionKind.UIDS, SubmissionKind.CODE, SubmissionKind.EXPRESSION}),
    Track.BYOD: frozenset({SubmissionKind.DATASET}),
}
INSTEAD = {
    SubmissionKind.DATASET: "bring-your-own data belongs on a byod board; send uids or filter code here",
}


def opening_problems(board: Board, create: SubmissionCreate) -> list[Problem]:
    """Everything that is wrong with what was announced."""
    problems = _window_problems(board)
    accepted = ACCEPTED[board.track]
    if create.kind not in accepted:
        named = ", ".join(sorted(kind.value for kind in accepted))
        problems.append(
            Problem(
                code="kind-refused",
                message=f"the board {board.name} does not take the kind {create.kind.value!r}",
                where="kind",
                hint=INSTEAD.get(create.kind, f"it takes: {named}"),
            )
        )
    if create.size > board.max_upload_bytes:
        problems.append(
            Problem(
                code="upload-too-large",
                message=f"{create.size:,} bytes were announced, {board.name} takes {board.max_upload_bytes:,}",
                where="size",
                hint="send a list of uids as npy (u8,u8); nothing larger is needed to name a subset",
            )
        )
    return problems + _expression_problems(create) + _text_problems(create)


def _window_problems(board: Board) -> list[Problem]:
    """Why a board takes no submissions now."""
    if not board.listed or is_closed(board):
        since = f" since {board.closes_at:%Y-%m-%d %H:%M} UTC" if board.listed and board.closes_at else ""
        message = f"the board {board.name} takes no submissions any more{since}"
        return [Problem(code="board-closed", message=message, where="board", hint="choose another board")]
    if not is_open(board):
        message = f"the board {board.name} opens at {board.opens_at:%Y-%m-%d %H:%M} UTC"
        return [Problem(code="board-not-open", message=message, where="board", hint="come back then")]
    return []


def _expression_problems(create: SubmissionCreate) -> list[Problem]:
    """What is wrong with an expression's text. Its columns and functions are looked up by the worker, which has the
    pool."""
    text = create.expression
    if create.kind is not SubmissionKind.EXPRESSION:
        hint = "announce it with the kind expression"
        other = Problem(
            code="expression-misplaced", message="only an expression has a text", where="expression", hint=hint
        )
        return [other] if text is not None else []
    if text is None:
        hint = "send the file's text in the field `expression`"
        return [Problem(code="expression-missing", message="the expression is missing", where="expression", hint=hint)]
    data = text.encode("utf-8", "replace")
    if len(data) != create.size or digest_bytes(data) != create.digest:
        message = "size and digest are not those of the expression's text"
        return [Problem(code="expression-digest", message=message, where="expression", hint="UTF-8, as it is sent")]
    try:
        parse_choice(text)
    except BadInput as error:
        return list(error.problems)
    return []


def _text_problems(create: SubmissionCreate) -> list[Problem]:
    problems = []
    if not create.method.strip():
        problems.append(Problem(code="method-blank", message="the method has no name", where="method"))
    name = create.filename
    if name in {".", ".."} or not name.isprintable() or any(sign in name for sign in "/\\\"'"):
        problems.append(
            Problem(
                code="filename-invalid",
                message=f"{name!r} is not a plain file name",
                where="filename",
                hint="give the name alone, without folders, quotes or control characters",
            )
        )
    if create.link and not create.link.startswith(("https://", "http://")):
        problems.append(
            Problem(
                code="link-invalid",
                message="the link is not an address of the web",
                where="link",
                hint="begin with https:// or leave it empty",
            )
        )
    return problems
