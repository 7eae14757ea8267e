"""Positive control: without each layer of the sandbox some filter breaks out, which with it is contained."""

import os
from collections import defaultdict

import pytest
from corpus import CASES
from corpus.case import Case
from hostile import Outside, raise_own_limits

from datacomp.filtering.wire import Receiver
from datacomp_worker.sandbox import Layer, self_test, without
from datacomp_worker.sandbox.command import Entry, entry

PROVED_ELSEWHERE = {
    Layer.DIES_WITH_WORKER: "tests/worker/test_sandbox_selftest.py kills a worker",
}
ROOT_ONLY = {Layer.REAL_UID}


def proofs() -> dict[frozenset[Layer], list[tuple[str, Case]]]:
    """The cases of the corpus by the layers that they are the proof of."""
    found: dict[frozenset[Layer], list[tuple[str, Case]]] = defaultdict(list)
    for kind, cases in CASES.items():
        for case in cases:
            for layers in case.proves:
                found[layers].append((kind, case))
    return found


PROOFS = proofs()
ALONE = {layer for layers in PROOFS if len(layers) == 1 for layer in layers}
TOGETHER = {layer for layers in PROOFS for layer in layers} - ALONE
"""Each of these has another one behind it: only without both does a filter break out. docs/sandbox.md says why."""


def _name(layers: frozenset[Layer]) -> str:
    return "+".join(sorted(layers))


def test_every_layer_has_its_proof() -> None:
    assert set(Layer) - ALONE - TOGETHER - set(PROVED_ELSEWHERE) == set()


@pytest.mark.security
@pytest.mark.parametrize("layers", sorted(PROOFS, key=_name), ids=_name)
def test_without_it_a_filter_breaks_out(layers: frozenset[Layer], outside: Outside, record_property) -> None:
    if layers & ROOT_ONLY and entry() is Entry.USER:
        pytest.skip("only where the worker is root")
    tight = layers & raise_own_limits()
    broke, held = [], []
    for kind, case in PROOFS[layers]:
        why = outside.run(case, without(*layers)).broke_out(case)
        (broke if why else held).append(f"{kind}/{case.name}")
    record_property("layer", _name(layers))
    if tight:  # the host itself has no more to give
        record_property("broke", f"nothing: this host's own limit is as tight ({', '.join(held)} held)")
        return
    record_property("broke", ", ".join(broke))
    assert not held, f"without {_name(layers)} these are contained all the same"


NOT_SEEN_FROM_INSIDE = {
    Layer.NO_NESTING: "seccomp refuses first",
    Layer.NO_CAPABILITIES: "nobody holds none anyway",
    Layer.RTPRIO: "where the host's limit is as tight",
    Layer.NICE: "where the host's limit is as tight",
    Layer.DIES_WITH_WORKER: "the worker's own doing",
    Layer.WALL_CLOCK: "the worker's own doing",
    Layer.LOG_BOUND: "the worker's own doing",
    Layer.WATCHED_MEMORY: "the worker's own doing",
    Layer.WATCHED_FILES: "the worker's own doing",
}


@pytest.mark.security
@pytest.mark.parametrize("layer", [layer for layer in Layer if layer not in NOT_SEEN_FROM_INSIDE])
def test_the_self_test_notices_that_it_is_missing(layer: Layer, outside: Outside) -> None:
    if layer in ROOT_ONLY and entry() is Entry.USER:
        pytest.skip("only where the worker is root")
    if layer is Layer.USER_NAMESPACE and entry() is Entry.USER:
        pytest.skip("an ordinary user's bubblewrap makes one by itself")
    assert self_test(layers=without(layer))


@pytest.mark.security
def test_without_the_count_scores_have_no_end(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, record_property
) -> None:
    """The pipe's count is no part of the command: what reads it is."""
    case = next(case for case in CASES["parser"] if case.name == "too-many-scores")
    monkeypatch.setattr(Receiver, "_allow", lambda *_: None)
    why = outside.run(Case(case.name, case.body, case.ends, seconds=4)).broke_out(case)
    record_property("layer", "counted-pipe")
    record_property("broke", f"parser/{case.name}")
    assert any("not filter-result-malformed" in each for each in why), os.linesep.join(why)
