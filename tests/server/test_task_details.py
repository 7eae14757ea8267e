"""What probes and varied tasks tell besides their value: from records to the receipt."""

from datacomp.messages import TaskScore
from datacomp.suite import load_suite
from datacomp_server.leaderboard.scoring import mean_tasks

SUITE = load_suite("tiny")


def seed(one_shot: float, p: float) -> dict[str, dict]:
    return {
        "tiny/probe-shapes": {"value": 0.5, "n": 160, "details": {"1-shot": one_shot, "all": 0.8}},
        "tiny/shapes-varied": {"value": 0.4, "n": 128, "details": {"plain": 0.5, "homogeneity p": p}},
    }


def test_details_are_means_over_seeds_and_p_values_have_none() -> None:
    both = mean_tasks([seed(0.2, 0.01), seed(0.4, 0.9)], SUITE)
    assert both["tiny/probe-shapes"]["details"] == {"1-shot": 0.30000000000000004, "all": 0.8}
    assert both["tiny/shapes-varied"]["details"] == {"plain": 0.5}
    assert "details" not in both["tiny/objects"]
    alone = mean_tasks([seed(0.2, 0.01)], SUITE)
    assert alone["tiny/shapes-varied"]["details"] == {"plain": 0.5, "homogeneity p": 0.01}


def test_details_travel_with_the_score_and_older_servers_have_none() -> None:
    fields = {"task": "t", "name": "T", "group": "g", "metric": None, "value": None, "chance": None, "n": 1}
    assert TaskScore.model_validate(fields).details == {}
    told = TaskScore.model_validate({**fields, "details": {"all": 0.5}})
    assert TaskScore.model_validate_json(told.model_dump_json()) == told
