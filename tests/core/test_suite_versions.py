"""Suites are frozen: digests that manifests name may never change, and former versions stay readable."""

import pytest

from datacomp.problems import BadInput
from datacomp.suite import load_suite

DIGESTS = {
    "datacomp-38@1": "270304b8a4f1ee20ddaccbc2f248122098e44ca994581dc86d152d8da5959b00",
    "tiny@1": "d3d32213b7a06ae75dff0997ab3514c9c7956e9068905be2af9ba806b145e026",
    "tiny@2": "63d3a4409e90148aee9617ce4d94a57731c71067c9bf5e90b6b9564d0fdbcb89",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_packaged_suites_keep_their_digests(name: str) -> None:
    suite = load_suite(name)
    assert (suite.id, suite.digest) == (name, DIGESTS[name])


def test_the_name_alone_is_the_newest_and_unknown_versions_are_refused() -> None:
    assert load_suite("tiny").id == "tiny@2"
    with pytest.raises(BadInput, match="suite-version"):
        load_suite("tiny@3")
    with pytest.raises(BadInput, match="choose one of datacomp-38, tiny") as refused:
        load_suite("none")
    assert "@" not in (refused.value.problems[0].hint or "")


def test_the_second_tiny_suite_counts_what_the_first_did() -> None:
    first, second = load_suite("tiny@1"), load_suite("tiny@2")
    assert second.counted == first.counted == first.tasks
    assert list(second.groups())[: len(first.groups())] == list(first.groups())
    assert [group for group in second.groups() if group not in first.groups()] == list(second.side_groups)
