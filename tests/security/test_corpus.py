"""Hostile filters, each through the stage that runs filters: contained, ended in time, nothing left behind."""

import pytest
from corpus import CASES, CLASSES
from corpus.case import Case
from hostile import Outside


def _marked(name: str, case: Case):
    return pytest.param(name, case, id=f"{name}-{case.name}", marks=() if case.quick else pytest.mark.security)


def test_the_corpus_is_large_enough() -> None:
    assert len(CLASSES) == 12
    assert sum(len(cases) for cases in CASES.values()) >= 150
    assert min(len(cases) for cases in CASES.values()) >= 12
    for cases in CASES.values():
        assert len({case.name for case in cases}) == len(cases)
        assert any(case.quick for case in cases)


@pytest.mark.parametrize(("kind", "case"), [_marked(name, case) for name in CLASSES for case in CASES[name]])
def test_contained(kind: str, case: Case, outside: Outside, record_property) -> None:
    verdict = outside.run(case)
    why = verdict.broke_out(case)
    for name, value in (("hostile", kind), ("case", case.name), ("contained", not why), ("teardown", verdict.teardown)):
        record_property(name, value)
    assert not why, f"{verdict.end} after {verdict.seconds:.1f} s\n{verdict.log[-2000:]}"
