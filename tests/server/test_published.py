"""Rows of papers: loaded with their boards, imported once, marked, never ranked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from own_boards import with_boards
from server_site import ONLY_SQLITE, Site, codes, running, uids
from sqlalchemy import func, select
from typer.testing import CliRunner

from datacomp.messages import PublishedOut, PublishedRow
from datacomp.problems import BadInput
from datacomp.published.tables import TABLE_3, read_published
from datacomp_server.cli import admin
from datacomp_server.published.models import PublishedScore
from datacomp_server.published.service import PublishedService
from datacomp_server.settings import Settings

BOARDS = "".join(
    f"""
[[boards]]
name = "filtering-{scale}"
title = "Filtering, {scale}"
scale = "{scale}"
suite = "{suite}"
pool = "tiny"
submissions_per_day = 20
max_upload_bytes = 1000000
"""
    for scale, suite in (("small", "datacomp-38"), ("medium", "datacomp-38"), ("tiny", "mini.json"))
)


@pytest.fixture
def paper_settings(make_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    """With boards of DataComp's small and medium scale."""
    return with_boards(make_settings, tmp_path, BOARDS)


@pytest.fixture
def papers(paper_settings: Settings) -> Any:
    with running(paper_settings) as site:
        yield site


def beside(site: Site, board: str) -> list[PublishedRow]:
    reply = site.http.get(f"/api/boards/{board}/published")
    assert reply.status_code == 200, reply.text
    return PublishedOut.model_validate(reply.json()).rows


def stored(site: Site) -> int:
    with site.database.read() as session:
        return session.scalar(select(func.count()).select_from(PublishedScore)) or 0


def test_table_3_stands_beside_the_boards_that_it_is_of(papers: Site) -> None:
    rows = beside(papers, "filtering-small")
    expected = {row.method: row for row in read_published(TABLE_3) if row.scale == "small"}
    assert {row.method: row for row in rows} == expected
    assert [row.average for row in rows] == sorted((row.average for row in rows), reverse=True)
    assert len(beside(papers, "filtering-medium")) == 7
    assert beside(papers, "filtering-tiny") == []
    assert stored(papers) == 25
    assert codes(papers.http.get("/api/boards/none/published")) == ["board-unknown"]


def test_boards_of_other_suites_bring_no_table(site: Site) -> None:
    assert stored(site) == 0
    with site.database.write() as session:
        assert PublishedService(session).load_default() is None


def test_starting_again_changes_nothing(paper_settings: Settings) -> None:
    times = []
    for _ in range(2):
        with running(paper_settings) as site, site.database.read() as session:
            times.append(session.scalars(select(PublishedScore.imported_at).order_by(PublishedScore.key)).all())
    assert times[0] == times[1]
    assert len(times[0]) == 25


def test_organisers_may_do_without_the_table(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_boards(make_settings, tmp_path, BOARDS, published_table=False)
    with running(settings) as site:
        assert stored(site) == 0
        monkeypatch.setattr("datacomp_server.published.console.load_settings", lambda: settings)
        say = CliRunner().invoke
        assert say(admin, ["import-published", "table3"]).exit_code == 0
        assert stored(site) == 25
        done = say(admin, ["remove-published", "table3"])
        assert (done.output, stored(site)) == ("table3: 25 rows removed\n", 0)
        refused = say(admin, ["remove-published", "Nobody 2026, Table 1"]).exception
        assert isinstance(refused, BadInput)
        assert refused.problems[0].code == "source-unknown"
        reply = site.http.get("/api/audit?what=published-removed", headers=site.headers("organiser"))
        assert [line["about"] for line in reply.json()] == ["table3"]


def test_published_rows_are_never_ranked(papers: Site) -> None:
    board = papers.board("filtering-small")
    assert (board.rows, board.total) == ([], 0)
    with papers.database.read() as session:
        rows = PublishedService(session).leaderboard_rows("filtering-small")
    assert len(rows) == 7
    for row in rows:
        assert (row.rank, row.status, row.submission, row.url) == (None, "published", None, None)
        assert "DataComp arXiv:2304.14108 Table 3" in row.source
    assert any("Table 25 has average 0.133" in row.source for row in rows)


def other_recipe(**changes: Any) -> PublishedRow:
    fields = {"method": "ten times the samples", "samples_seen": 128_000_000, "same_recipe": False}
    return read_published(TABLE_3)[0].model_copy(update=fields | changes)


def test_rows_of_another_recipe_are_told_and_kept_off_the_leaderboard(papers: Site) -> None:
    with papers.database.write() as session:
        PublishedService(session).import_rows([other_recipe()])
    (told,) = (row for row in beside(papers, "filtering-small") if not row.same_recipe)
    assert told.method == "ten times the samples"
    with papers.database.read() as session:
        service = PublishedService(session)
        assert told.method not in [row.method for row in service.leaderboard_rows("filtering-small")]
        assert told not in service.of_suite(told.track, told.suite, ["small"])


def test_an_import_updates_what_changed_and_needs_a_source(papers: Site) -> None:
    with papers.database.write() as session:
        service = PublishedService(session)
        first, second = (row.model_copy(update={"source": "A paper"}) for row in read_published(TABLE_3)[:2])
        assert service.import_rows([first, second]).new == 2
        changed = service.import_rows([first.model_copy(update={"average": 0.5}), second])
        assert (changed.new, changed.changed, changed.unchanged) == (0, 1, 1)
        with pytest.raises(BadInput, match="source-missing"):
            service.import_rows([first.model_copy(update={"source": ""})])
    assert 0.5 in [row.average for row in beside(papers, "filtering-small")]


@ONLY_SQLITE
def test_the_console_imports_tables(paper_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATACOMP_DATA_DIR", str(paper_settings.data_dir))
    monkeypatch.setenv("DATACOMP_DATABASE_URL", paper_settings.database_url)
    table = tmp_path / "table.csv"
    table.write_text("scale,method,average,imagenet\nsmall,their filter,0.2,0.1\nmedium,their filter,0.3,0.2\n")

    def say(*words: str) -> str:
        result = CliRunner().invoke(admin, ["import-published", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    with running(paper_settings) as site:
        assert "2 rows new" in say(str(table), "--source", "Somebody 2026, Table 1")
        assert "0 rows new, 0 changed, 2 there already" in " ".join(
            say(str(table), "--source", "Somebody 2026, Table 1").split()
        )
        assert "25 there already" in " ".join(say("table3").split())
        assert [row.source for row in beside(site, "filtering-small") if row.method == "their filter"] == [
            "Somebody 2026, Table 1"
        ]
        reply = site.http.get("/api/audit?what=published-imported", headers=site.headers("organiser"))
        assert [line["about"] for line in reply.json()] == ["table3", "table.csv", "table.csv"]
    with pytest.raises(BadInput, match="source-missing"):
        CliRunner().invoke(admin, ["import-published", str(table)], catch_exceptions=False)


def test_withdrawing_own_entries_leaves_the_papers(papers: Site) -> None:
    assert len(beside(papers, "filtering-small")) == 7
    opened = papers.submit("ada", uids(1), board="filtering-small")
    assert papers.act("ada", opened.id, "cancel").status_code == 200
    assert len(beside(papers, "filtering-small")) == 7


@ONLY_SQLITE
def test_the_leaderboard_shows_them_beneath_without_a_rank(papers: Site) -> None:
    html = papers.http.get("/boards/filtering-small").text
    assert "No entries yet" in html
    part = html[html.index("Published, not run here") :]
    assert "CLIP score (L/14 30%)" in part
    assert "DataComp arXiv:2304.14108 Table 3" in part
    assert "0.173" in part
    assert 'class="n rank"' not in part
    assert "Published, not run here" not in papers.http.get("/boards/filtering-tiny").text
    assert "their filter" not in papers.http.get("/boards/filtering-small/leaderboard.csv").text
    assert "not run here" in papers.http.get("/trends").text
