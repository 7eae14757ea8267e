"""Whose turn it is: parties in turn, organisers' priority, ageing. The rule as a function, and over HTTP."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from server_site import Site, uids

from datacomp.messages import Stage
from datacomp_server.models import Submission
from datacomp_server.runs.scheduling import Candidate, Load, fair_order

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def candidate(number: int, party: str, *, minutes: float = 0, priority: int = 0, stage: Stage = Stage.TRAIN):
    queued = NOON - timedelta(minutes=minutes)
    return Candidate(f"{party}-{number:03d}", f"{party}-{number:03d}", stage, "cpu", queued, party, priority)


def order(candidates, loads=None, ageing=HOUR) -> list[str]:
    return [found.party for found in fair_order(candidates, loads or {}, NOON, ageing)]


def test_fifty_queued_runs_do_not_keep_another_from_its_turn() -> None:
    flood = [candidate(number, "flood", minutes=30) for number in range(50)]
    assert order([*flood, candidate(0, "ada"), candidate(1, "ada")])[:4] == ["flood", "ada", "flood", "ada"]
    assert order([*flood, candidate(0, "ada")], {"flood": Load(1)})[0] == "ada"
    assert order([*flood, candidate(0, "ada")], {"flood": Load(0, NOON)})[0] == "ada"


def test_many_parties_get_equal_shares_whatever_each_has_queued() -> None:
    queued = [candidate(number, party) for party, count in (("a", 50), ("b", 10), ("c", 30)) for number in range(count)]
    assert Counter(order(queued)[:30]) == {"a": 10, "b": 10, "c": 10}


def test_priority_goes_first_and_waiting_makes_up_for_it() -> None:
    favoured = [candidate(number, "favoured", priority=2) for number in range(5)]
    assert order([*favoured, candidate(0, "ada", minutes=59)])[:5] == ["favoured"] * 5
    assert order([*favoured, candidate(0, "ada", minutes=181)])[0] == "ada", "three hours are three steps"


def test_within_a_party_early_stages_come_first_until_a_run_has_aged() -> None:
    young = [candidate(1, "ada", minutes=5), candidate(2, "ada", minutes=1, stage=Stage.VALIDATE)]
    assert [found.run for found in fair_order(young, {}, NOON, HOUR)] == ["ada-002", "ada-001"]
    aged = [candidate(1, "ada", minutes=61), candidate(2, "ada", minutes=1, stage=Stage.VALIDATE)]
    assert [found.run for found in fair_order(aged, {}, NOON, HOUR)] == ["ada-001", "ada-002"]


def test_a_participant_with_many_submissions_does_not_starve_another(site: Site) -> None:
    for seed in range(12):
        site.submit("flood", uids(seed))
    mine = site.submit("ada", uids(100))
    served = []
    for _ in range(6):
        attempt = site.worker().must_claim()
        served.append(attempt.job.submission == mine.id)
        assert attempt.finish().status_code == 204
    assert sum(served) == 3, "every second run is hers, until she has none left"


def test_the_organisers_priority_is_heeded(site: Site) -> None:
    site.submit("ada", uids(1))
    hurried = site.submit("ada", uids(2))
    with site.database.write() as session:
        row = session.get(Submission, hurried.id)
        assert row is not None
        row.priority = 1
    assert site.worker().must_claim().job.submission == hurried.id
