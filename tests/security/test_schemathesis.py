"""Every endpoint of the OpenAPI document, asked in ways that fit the document, and in ways that nearly do.

No answer is a fault, has a status, header or content type that is not documented, or a body that does not fit its
schema. Asked over a real socket, on SQLite and a quarter as often on PostgreSQL (that of DATACOMP_TEST_POSTGRES, or one
of its own). DATACOMP_SECURITY_SEED and DATACOMP_SCHEMATHESIS_COUNT choose what is asked, and how often each kind of
caller asks each endpoint.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from fuzzing import SEED
from hypothesis import strategies as st
from loopback import mailbox
from peopled_site import METRICS_TOKEN, Peopled, peopled
from postgres_copy import PostgresCopy, any_postgres
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from server_site import serving

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
CALLERS = ("anonymous", "ada", "organiser", "worker")
QUICKLY = frozenset({"ada", "worker"})
"""Who asks in the default suite too."""
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
QUICK = 2
"""Questions by each kind of caller at each endpoint."""
STREAM_SECONDS = 0.2
"""How long a stream that does not end is read."""
PATIENCE = 60.0
KNOWN = 0.7
"""Share of questions about things that there are."""


@dataclass
class Asked:
    """A site that is asked, and what came of it."""

    place: Peopled
    address: str
    schema: Any
    restore: Callable[[], None]
    """Make everything as it was."""
    answers: Counter[int] = field(default_factory=Counter)
    wrong: dict[tuple[str, str], str] = field(default_factory=dict)
    """One example of everything that is wrong, by endpoint and kind."""

    def ask(self, session: requests.Session, caller: str, case: Case) -> None:
        """One question."""
        token = METRICS_TOKEN if case.operation.path == "/metrics" else self.place.tokens.get(caller)
        headers = {"Authorization": f"Bearer {token}"} if token and caller != "anonymous" else {}
        patience = STREAM_SECONDS if case.operation.path.endswith("/events") else PATIENCE
        response = case.call(base_url=self.address, session=session, headers=headers, timeout=patience)
        self.answers[response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                key = (case.operation.label, f"{type(failure).__name__} {response.status_code}")
                self.wrong.setdefault(key, str(group))
        if response.status_code < 300 and case.method not in {"GET", "HEAD", "OPTIONS"}:
            self.restore()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.security)])
def kind(request: pytest.FixtureRequest) -> str:
    """Of the database."""
    return str(request.param)


@pytest.fixture(scope="module")
def place(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peopled]:
    folder = tmp_path_factory.mktemp("asked")
    with ExitStack() as stack:
        letters = stack.enter_context(mailbox())
        elsewhere = {"database_url": stack.enter_context(any_postgres())} if kind == "postgresql" else {}
        made = peopled(folder, smtp_port=letters.port, smtp_security="none", **elsewhere)
        yield stack.enter_context(made)


@pytest.fixture(scope="module")
def restore(kind: str, place: Peopled) -> Callable[[], None]:
    """Makes everything as it was."""
    if kind == "sqlite":
        return place.restore
    copy = PostgresCopy(place.site.database)

    def both() -> None:
        copy.restore()
        place.restore()  # its files

    return both


@pytest.fixture(scope="module")
def address(place: Peopled) -> Iterator[str]:
    with serving(place.site.app) as url:
        yield url


@pytest.fixture(scope="module")
def schema(place: Peopled) -> Any:
    return schemathesis.openapi.from_dict(place.site.http.get("/api/openapi.json").json())


def known_parts(place: Peopled) -> dict[str, list[str]]:
    """What may stand in a path."""
    return {
        "submission": list(place.submissions.values()),
        "attempt": [place.attempt.job.attempt],
        "name": ["small-board", "upload", "subset.npy", "records.parquet"],
        **{name: [place.things[name]] for name in ("token", "session", "webhook", "invite")},
    }


def make_known(place: Peopled, case: Case, draw: Any) -> Case:
    """Let a question be about things that there are, mostly."""
    for name, values in known_parts(place).items():
        if name in case.path_parameters and draw(st.floats(0, 1)) < KNOWN:
            case.path_parameters[name] = draw(st.sampled_from(values))
    if isinstance(case.body, dict) and "fence" in case.body and draw(st.floats(0, 1)) < KNOWN:
        case.body["fence"] = place.attempt.job.fence
    if isinstance(case.body, dict) and "board" in case.body and draw(st.floats(0, 1)) < KNOWN:
        case.body["board"] = "small-board"
    if case.operation.path.endswith("/content") and draw(st.floats(0, 1)) < KNOWN:
        case.headers["Tus-Resumable"] = "1.0.0"
    return case


@pytest.mark.parametrize(
    "caller", [pytest.param(each, marks=[] if each in QUICKLY else pytest.mark.security) for each in CALLERS]
)
def test_every_endpoint_answers_as_documented(
    kind: str,
    place: Peopled,
    address: str,
    schema: Any,
    restore: Callable[[], None],
    caller: str,
    record_property: Any,
) -> None:
    count = int(os.environ.get("DATACOMP_SCHEMATHESIS_COUNT", QUICK))
    count = count if kind == "sqlite" else max(count // 4, 1)
    asked = Asked(place, address, schema, restore)
    with requests.Session() as session:
        operations = [result.ok() for result in schema.get_all_operations()]
        for operation in operations:
            _ask_all(asked, session, caller, operation, count)
    total = sum(asked.answers.values())
    found = f"{total:,} questions at {len(operations)} endpoints, {len(asked.wrong)} wrong answers"
    record_property("note", f"schemathesis, {kind}, {caller}: {found} ({_by_class(asked.answers)})")
    assert not asked.wrong, "\n\n".join(asked.wrong.values())


def _ask_all(asked: Asked, session: requests.Session, caller: str, operation: Any, count: int) -> None:
    modes = st.one_of(*(operation.as_strategy(mode) for mode in _modes(operation)))

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=modes, data=st.data())
    def questions(case: Case, data: st.DataObject) -> None:
        asked.ask(session, caller, make_known(asked.place, case, data.draw))

    questions()


def _modes(operation: Any) -> list[GenerationMode]:
    """Where nothing is taken, nothing can be wrong with it."""
    takes = operation.body or operation.path_parameters or operation.query or operation.headers
    return list(GenerationMode) if takes else [GenerationMode.POSITIVE]


def _by_class(answers: Counter[int]) -> str:
    return ", ".join(f"{status}: {count:,}" for status, count in sorted(answers.items()))
