"""A real platform for end-to-end tests: a small world; server, dispatcher and workers in processes of their own."""

from collections.abc import Iterator

import pytest
from e2e_place import EXAMPLES, Place, running_place

from datacomp.messages import SubmissionOut

SANDBOX_SECONDS = "20"
"""Wall clock of participants' code: a filter that never returns should not hold up the tests for a minute."""


@pytest.fixture(scope="session")
def short_sandbox() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATACOMP_SANDBOX_SECONDS", SANDBOX_SECONDS)
        patch.setenv("DATACOMP_FETCH_ALLOW", '["127.0.0.1/32"]')
        yield


@pytest.fixture(scope="session")
def place(short_sandbox: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running_place(tmp_path_factory) as place:
        yield place


@pytest.fixture(scope="session")
def rehearsed(place: Place) -> SubmissionOut:
    """A participant's code, rehearsed to the end: several tests look at it."""
    receipt = place.submit(str(EXAMPLES / "caption_and_score.py"), "--scale", "tiny", "--rehearsal")
    final = place.end_of(receipt["id"])
    assert final.state == "scored", final.failure
    return final
