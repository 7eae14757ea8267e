"""A real platform for end-to-end tests: a small world; server, dispatcher and workers in processes of their own."""

from collections.abc import Iterator

import pytest
from e2e_place import Place, running_place

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
    with running_place(tmp_path_factory.mktemp("platform"), tmp_path_factory.mktemp("home")) as place:
        yield place
