"""The fields of the web form of a submission: read, and checked together, each problem at its field."""

from __future__ import annotations

import re
from dataclasses import replace

from pydantic import ValidationError
from starlette.datastructures import FormData

from datacomp.checks import parse_choice
from datacomp.messages import BoardOut, SubmissionCreate, SubmissionKind
from datacomp.problems import BadInput, Problem
from datacomp_server.pages.contexts import ExpressionFault, SubmitValues
from datacomp_server.pages.filters import safe_link, size
from datacomp_server.pages.formfile import Upload
from datacomp_server.pages.web import text_of
from datacomp_server.submissions.opening import ACCEPTED

FIELD_OF = {"filename": "file", "digest": "file", "size": "file"}
"""Fields of the message that are not fields of the form."""
MESSAGES = {
    "board": ("there is no such board", "choose one from the list"),
    "kind": ("this kind cannot be handed in to this board", "choose another kind, or another board"),
    "file": ("there is no file, or it is empty", "choose a file of the kind that you hand in"),
    "method": ("the method has no name, or a very long one", "give it 1 to 120 characters"),
    "description": ("the description is too long", "use at most 4,000 characters"),
    "link": ("this is not a web address", "give one that begins with https://, or leave it empty"),
}
PLACE = re.compile(r"column (\d+) of: ")
"""How the parser of expressions says where something is wrong."""


def values_of(form: FormData) -> SubmitValues:
    """The text fields; browsers send line ends as CR LF."""
    return SubmitValues(
        board=text_of(form, "board"),
        kind=text_of(form, "kind"),
        expression=text_of(form, "expression").replace("\r\n", "\n"),
        method=text_of(form, "method"),
        description=text_of(form, "description").replace("\r\n", "\n"),
        link=text_of(form, "link"),
        rehearsal=text_of(form, "rehearsal") == "yes",
    )


def message_of(values: SubmitValues, upload: Upload | None) -> SubmissionCreate:
    """What the API would be sent. pydantic's `ValidationError` names the fields that it does not take."""
    file = {} if upload is None else {"filename": upload.path.name, "digest": upload.digest, "size": upload.size}
    text = {"expression": values.expression} if values.kind == SubmissionKind.EXPRESSION else {}
    return SubmissionCreate.model_validate(
        {
            "board": values.board,
            "kind": values.kind,
            "method": values.method,
            "description": values.description,
            "link": values.link,
            "rehearsal": values.rehearsal,
            **file,
            **text,
        }
    )


def field_problems(values: SubmitValues, upload: Upload | None, boards: list[BoardOut]) -> list[Problem]:
    """All that is wrong with the fields, in the form's order, each at its field. An expression's text is another
    matter: see `expression_problems`."""
    wrong = _refused(values, upload)
    board = next((board for board in boards if board.name == values.board), None)
    if board is None:
        wrong.add("board")
    elif values.kind in set(SubmissionKind) and values.kind not in ACCEPTED[board.track]:
        wrong.add("kind")
    if values.link and safe_link(values.link) is None:
        wrong.add("link")
    problems = [
        Problem(code=f"{name}-invalid", message=message, where=name, hint=hint)
        for name, (message, hint) in MESSAGES.items()
        if name in wrong
    ]
    if board is not None and upload is not None and upload.size > board.max_upload_bytes:
        message = f"the file has {size(upload.size)}, and this board takes {size(board.max_upload_bytes)}"
        problems.append(Problem(code="upload-too-large", message=message, where="file"))
    return problems


def _refused(values: SubmitValues, upload: Upload | None) -> set[str]:
    try:
        message_of(values, upload)
    except ValidationError as error:
        wrong = {FIELD_OF.get(str(item["loc"][0]), str(item["loc"][0])) for item in error.errors()}
        return wrong - ({"file", "expression"} if values.kind == SubmissionKind.EXPRESSION else set())
    return set()


def expression_problems(values: SubmitValues) -> tuple[list[Problem], ExpressionFault | None]:
    """What is wrong with an expression's text, as far as it tells without a pool, and where in it."""
    if values.kind != SubmissionKind.EXPRESSION:
        return [], None
    try:
        parse_choice(values.expression)
    except BadInput as error:
        fault = fault_in(values.expression, error.problems[0].where)
        place = f" (line {fault.line}, column {fault.column})" if fault else ""
        return [
            replace(problem, message=problem.message + place, where="expression") for problem in error.problems
        ], fault
    return [], None


def fault_in(text: str, where: str | None) -> ExpressionFault | None:
    """The line and column that the parser points at; None where it points at none. Columns count from 1."""
    found = PLACE.match(where or "")
    if found is None:
        return None
    at = min(int(found[1]) - 1, len(text))
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    shown = text[start : len(text) if end < 0 else end]
    return ExpressionFault(at=at, line=text.count("\n", 0, at) + 1, column=at - start + 1, text=shown)
