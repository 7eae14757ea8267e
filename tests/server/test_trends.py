"""Trends of a server's own boards: which entries are one method, what the page and the API show, what came first."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from zlib import crc32

import pytest
from own_boards import with_boards
from server_site import ONLY_SQLITE, Site, codes, running, serving, uids
from sqlalchemy import update
from typer.testing import CliRunner

from datacomp.cli.trends import commands
from datacomp.messages import TrendsOut
from datacomp.scales import SCALES
from datacomp_server.clock import now
from datacomp_server.leaderboard.models import Score
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import Submission

SCALE_NAMES = ("tiny", "small", "medium")
BOARD = """
[[boards]]
name = "on-{scale}"
title = "On {scale}"
scale = "{scale}"
suite = "mini.json"
pool = "tiny"
train_queue = "cpu"
submissions_per_day = 20
max_upload_bytes = 1000000
"""


@pytest.fixture
def scales(make_settings: Callable[..., Settings], tmp_path: Path) -> Iterator[Site]:
    """Boards of one suite at three scales."""
    boards = "".join(BOARD.format(scale=scale) for scale in SCALE_NAMES)
    with running(with_boards(make_settings, tmp_path, boards, board_cache_seconds=0)) as site:
        yield site


def enter(site: Site, who: str, method: str, scale: str, average: float, *, days: int = 0) -> str:
    """A scored entry whose average and date are then set."""
    seed = crc32(repr((who, method, scale, average)).encode())
    receipt = site.score(who, uids(seed), board=f"on-{scale}", method=method)
    assert receipt.state == "scored", receipt
    with site.database.write() as session:
        values = {"average": average, "public_average": average, "created_at": now() + timedelta(days=days)}
        session.execute(update(Score).where(Score.submission_id == receipt.id).values(**values))
        session.execute(update(Submission).where(Submission.id == receipt.id).values(subset_size=50))
    return receipt.id


def trends(site: Site, **asked: str) -> TrendsOut:
    reply = site.http.get("/api/trends", params=asked)
    assert reply.status_code == 200, reply.text
    return TrendsOut.model_validate(reply.json())


def page(site: Site, **asked: str) -> str:
    reply = site.http.get("/trends", params=asked)
    assert reply.status_code == 200, reply.text
    return reply.text


def test_a_method_is_followed_across_scales(scales: Site) -> None:
    for number, scale in enumerate(SCALE_NAMES):
        enter(scales, "ada", "My filter", scale, 0.2 + number / 5, days=number)
    enter(scales, "grace", "my filter", "tiny", 0.5)  # another's, at one scale
    enter(scales, "grace", "other", "small", 0.5)
    found = trends(scales)
    (trend,) = found.trends
    assert (trend.series.method, trend.series.by, trend.series.published) == ("My filter", "ada", False)
    assert [point.scale for point in trend.series.points] == list(SCALE_NAMES)
    assert [point.score for point in trend.series.points] == pytest.approx([0.2, 0.4, 0.6])
    assert [point.macs for point in trend.series.points] == [SCALES[scale].train_macs for scale in SCALE_NAMES]
    assert trend.forecast is not None
    assert trend.forecast.scale == "large"
    assert {"far", "architecture-changes", "many-epochs", "no-basis"} <= {each.code for each in trend.cautions}
    # The forecast for medium could have been made before medium's score was there.
    assert found.coverage.forecasts == 1
    assert found.published_coverage.forecasts == 0
    html = page(scales)
    assert "My filter" in html
    assert f"large: {trend.forecast.score:.3f}" in html
    assert '<span class="source">No forecast from tiny was ever checked: this one has no basis' in html
    assert html.index("Does the order hold?") < html.index("Extrapolated, not measured")
    assert f"{found.coverage.inside} of 1 scores fell into the 95% interval" in html


@ONLY_SQLITE
def test_a_forecast_that_came_too_late_is_none(scales: Site) -> None:
    for number, scale in enumerate(SCALE_NAMES):
        enter(scales, "ada", "late", scale, 0.2 + number / 5, days=-number)
    assert trends(scales).coverage.forecasts == 0


def test_the_newest_of_several_entries_counts(scales: Site) -> None:
    enter(scales, "ada", "filter", "tiny", 0.9, days=1)
    enter(scales, "ada", "Filter", "tiny", 0.3, days=2)
    last = enter(scales, "ada", "filter", "small", 0.4)
    (trend,) = trends(scales).trends
    assert [point.score for point in trend.series.points] == [0.3, 0.4]
    assert trend.series.points[-1].submission == last
    assert scales.act("ada", last, "withdraw").status_code == 200
    assert trends(scales).trends == []


@ONLY_SQLITE
def test_orders_are_compared_between_own_boards(scales: Site) -> None:
    for number, method in enumerate(("a", "b", "c")):
        enter(scales, "ada", method, "tiny", 0.1 + number / 10)
        enter(scales, "ada", method, "small", 0.3 + number / 10)
    found = trends(scales)
    (order,) = found.agreements
    assert (order.small, order.large, order.methods, order.pairwise.value) == ("tiny", "small", 3, 1)
    assert found.published_agreements == []
    assert len(found.trends) == 3
    assert [each.series.method for each in trends(scales, method="B").trends] == ["b"]
    assert "tiny for small" in page(scales)


def test_one_scale_is_shown_for_a_method_by_name_alone(scales: Site) -> None:
    enter(scales, "ada", "lonely_100%", "tiny", 0.3)
    assert trends(scales).trends == []
    (trend,) = trends(scales, method="lonely_100%").trends
    assert trend.law is None
    assert trends(scales, method="lonelyx100").trends == []
    assert "one scale alone tells nothing" in page(scales, method="lonely")
    assert "No method is called so" in page(scales, method="nobody")


@ONLY_SQLITE
def test_scores_of_groups_and_tasks(scales: Site) -> None:
    for scale in SCALE_NAMES[:2]:
        enter(scales, "ada", "filter", scale, 0.5)
    task = next(task.key for task in scales.suite.tasks if task.metric is not None)
    for metric in ("main", *(f"group:{group}" for group in scales.suite.groups()), f"task:{task}"):
        found = trends(scales, metric=metric, x="samples")
        assert (found.metric, found.x, len(found.trends)) == (metric, "samples", 1), metric
    assert {caution.code for caution in trends(scales, metric=f"task:{task}").trends[0].cautions} >= {"single-task"}


@ONLY_SQLITE
@pytest.mark.parametrize(
    ("asked", "code"),
    [({"metric": "none"}, "metric-unknown"), ({"x": "hours"}, "axis-unknown"), ({"suite": "none@1"}, "suite-unknown")],
)
def test_what_is_not_there_is_refused(scales: Site, asked: dict[str, str], code: str) -> None:
    reply = scales.http.get("/api/trends", params=asked)
    assert (reply.status_code, codes(reply)) == (422, [code])
    assert scales.http.get("/trends", params=asked).status_code == 422


@ONLY_SQLITE
def test_a_track_without_boards_is_empty(scales: Site) -> None:
    found = trends(scales, track="byod")
    assert (found.trends, found.suites) == ([], [])
    assert "No method was entered at two scales yet" in page(scales, track="byod")
    assert scales.http.get("/trends/chart.svg", params={"track": "byod"}).status_code == 200


@ONLY_SQLITE
def test_the_chart_is_drawn(scales: Site) -> None:
    for number, scale in enumerate(SCALE_NAMES):
        enter(scales, "ada", "drawn filter", scale, 0.2 + number / 5)
    reply = scales.http.get("/trends/chart.svg?x=samples&theme=dark")
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("image/svg+xml")
    assert "drawn filter" in reply.text
    assert "samples seen" in reply.text
    assert 'src="/trends/chart.svg?x=samples"' in page(scales, x="samples")


@ONLY_SQLITE
def test_private_tasks_keep_boards_apart(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    boards = "".join(BOARD.format(scale=scale) for scale in ("tiny", "small"))
    hidden = boards.replace(
        'name = "on-small"', 'name = "on-small"\nprivate_tasks = ["mini/shift"]\nreveals_at = 2999-01-01T00:00:00Z'
    )
    with running(with_boards(make_settings, tmp_path, hidden, board_cache_seconds=0)) as site:
        tasks = [task.key for task in site.suite.tasks]
        assert "mini/shift" in tasks, tasks
        enter(site, "ada", "filter", "tiny", 0.3)
        enter(site, "ada", "filter", "small", 0.4)
        assert trends(site).trends == []


@ONLY_SQLITE
def test_the_command_line_shows_what_the_server_works_out(scales: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, scale in enumerate(SCALE_NAMES[:2]):
        enter(scales, "ada", "told filter", scale, 0.2 + number / 5)
    with serving(scales.app) as url:
        monkeypatch.setenv("DATACOMP_URL", url)
        result = CliRunner().invoke(commands, ["trend", "told", "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert TrendsOut.model_validate_json(result.output) == trends(scales, method="told")
