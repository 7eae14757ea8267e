"""Pages for organisers: what they show and do, the traces that this leaves, and what they refuse."""

import copy
import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from mini_suite import SUITE
from page_table import look, visiting
from peopled_site import Peopled, peopled
from server_site import uids

from datacomp.suite import Suite
from datacomp_server.accounts.models import User
from datacomp_server.audit.models import AuditLine
from datacomp_server.boards.models import Board
from datacomp_server.clock import now
from datacomp_server.leaderboard.models import RankChange, Score
from datacomp_server.leaderboard.rescored import Rescored
from datacomp_server.leaderboard.rescoring import plan_rescoring
from datacomp_server.operation.export import export_board
from datacomp_server.submissions.models import Event, Submission

BOARD = "/organise/boards/small-board"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peopled]:
    folder = tmp_path_factory.mktemp("organise")
    changed = copy.deepcopy(SUITE)
    changed["version"] = "2"
    changed["tasks"][0]["counted"], changed["tasks"][2]["counted"] = False, True
    (folder / "second.json").write_text(json.dumps(changed))
    (folder / "notes.json").write_text("no suite")
    with peopled(folder) as made:
        made.site.http.follow_redirects = False
        yield made


@pytest.fixture
def place(kept: Peopled) -> Iterator[Peopled]:
    yield kept
    kept.restore()


def page(place: Peopled, path: str, status: int = 200, **query: Any) -> str:
    reply = look(place, f"{path}?{urlencode(query)}" if query else path, visiting(place, "olga"))
    assert reply.status_code == status, reply.text
    return str(reply.text)


def send(place: Peopled, path: str, who: str = "olga", **fields: Any) -> Any:
    place.site.http.cookies.clear()
    data = {"csrf": place.csrf[who], **fields}
    return place.site.http.post(path, data=data, headers={"Accept": "text/html", **visiting(place, who)})


def audited(place: Peopled, what: str) -> list[tuple[str | None, str, dict[str, Any]]]:
    with place.site.database.read() as session:
        query = sa.select(User.name, AuditLine.about, AuditLine.details).outerjoin(User, User.id == AuditLine.actor_id)
        return [(row[0], row[1], row[2]) for row in session.execute(query.where(AuditLine.what == what))]


def state(place: Peopled, name: str) -> str:
    return place.site.receipt(place.submissions[name]).state


def second_suite(place: Peopled) -> Suite:
    return Suite.model_validate(json.loads((place.site.settings.data_dir / "second.json").read_text()))


def test_the_overview_tells_how_everything_stands(place: Peopled) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page(place, "/organise")))
    assert "Small board open 1 5 1 " in text, "scored, under way, failed in a day"
    assert re.search(r"cpu \d", text)
    assert "free" in text
    with place.site.database.write() as session:
        session.execute(sa.update(Submission).values(finished_at=now() - timedelta(days=2)))
    assert "Small board open 1 5 0 " in re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page(place, "/organise")))


def test_runs_are_found_by_every_filter(place: Peopled) -> None:
    found = {
        name: set(re.findall(r"/submissions/(\w+)", page(place, "/organise/runs", **query)))
        for name, query in {
            "failed": {"state": "failed"}, "code": {"code": "it-broke"}, "no code": {"code": "it-b"},
            "training": {"stage": "train", "state": "running"}, "worker": {"worker": "nobody"},
            "board": {"board": "another"}, "ada": {"participant": "ADA", "page": 1}, "mary": {"participant": "mary"},
        }.items()
    }  # fmt: skip
    ids = place.submissions
    assert found["failed"] == found["code"] == {ids["failed"], ids["rejected"]}
    assert found["training"] == {ids["training"]}
    assert found["no code"] == found["worker"] == found["board"] == found["mary"] == set()
    assert found["ada"] >= {ids["scored"], ids["validating"]}
    assert "No runs." in page(place, "/organise/runs", page=99)


def test_a_set_is_cancelled_after_a_look_with_a_reason(place: Peopled) -> None:
    chosen = [place.submissions[name] for name in ("training", "evaluating", "scored")]
    told = send(place, "/organise/runs/confirm", act="cancel", id=chosen)
    assert told.status_code == 200
    assert "train is stopped on worker-1; 1 that wait are dropped; its quota stays used" in told.text
    assert re.findall(r'name="id" value="(\w+)"', told.text) == chosen[:2], "what is scored cannot be cancelled"
    assert not place.changed
    silent = send(place, "/organise/runs/apply", act="cancel", id=chosen[:2], reason=" ")
    assert (silent.status_code, "reason-missing" in silent.text) == (422, True)
    both = send(place, "/organise/runs/apply", act="cancel", id=chosen, reason="the disk is full")
    assert (both.status_code, "wrong-state" in both.text, 'value="the disk is full"' in both.text) == (409, True, True)
    assert not place.changed, "all of them or none, as far as can be told beforehand"
    done = send(place, "/organise/runs/apply", act="cancel", id=chosen[:2], reason="the disk is full")
    assert (done.status_code, done.headers["location"]) == (303, "/organise/runs?done=2")
    assert {state(place, "training"), state(place, "evaluating")} == {"cancelled"}
    lines = audited(place, "submission-cancelled")
    assert lines == [("olga", one, {"reason": "the disk is full"}) for one in chosen[:2]]
    with place.site.database.read() as session:
        query = sa.select(Event.actor, Event.reason).where(Event.submission_id == chosen[0]).order_by(Event.id.desc())
        assert tuple(session.execute(query).first() or ()) == ("organiser:olga", "the disk is full")


def test_all_that_a_filter_finds_is_taken_up_again(place: Peopled) -> None:
    told = send(place, "/organise/runs/confirm", act="requeue", all="yes", state="failed", participant="ada")
    assert re.findall(r'name="id" value="(\w+)"', told.text) == [place.submissions["failed"]]
    assert "is queued, with all attempts anew" in told.text
    assert "only what failed can be taken up again" in told.text, "the rejected one"
    fields = {"act": "requeue", "id": place.submissions["failed"], "reason": "mended"}
    assert send(place, "/organise/runs/apply", **fields).status_code == 303
    assert state(place, "failed").startswith("subsetting")
    again = send(place, "/organise/runs/apply", **fields)
    assert (again.status_code, "There is nothing that this can be done to" in again.text) == (409, True)
    assert len(audited(place, "submission-requeued")) == 1


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"act": "cancel"}, 422, "nothing-chosen"),
        ({"act": "explode", "id": "x"}, 422, "choice-missing"),
        ({"act": "cancel", "id": "x"}, 404, "submission-unknown"),
        ({"act": "cancel", "id": [str(n) for n in range(501)]}, 422, "too-many-chosen"),
    ],
)
def test_choices_that_cannot_be(place: Peopled, fields: dict[str, Any], status: int, code: str) -> None:
    for path in ("/organise/runs/confirm", "/organise/runs/apply"):
        reply = send(place, path, **fields, reason="why")
        assert (reply.status_code, code in reply.text) == (status, True), reply.text
    assert not place.changed


def test_a_board_is_scored_again_exactly_as_it_was_shown(place: Peopled) -> None:
    suite = second_suite(place)
    assert f'value="{suite.digest}">mini@2' in page(place, BOARD)
    shown = page(place, f"{BOARD}/rescore", suite=suite.digest)
    digest = re.findall(r'name="preview" value="(\w+)"', shown)
    assert len(digest) == 1
    assert "until now mini@1" in shown
    assert not place.changed
    own = page(place, f"{BOARD}/rescore")
    assert "there is nothing to apply" in own
    assert 'name="preview"' not in own

    # A result that comes in meanwhile makes the preview old: nothing is written, and it is shown anew.
    place.site.worker().work()
    later = place.site.score("grace", uids(500), colours=2, shift=8)
    stale = send(place, f"{BOARD}/rescore", suite=suite.digest, preview=digest[0])
    assert (stale.status_code, "preview-stale" in stale.text) == (409, True)
    assert place.site.board().suite == "mini@1"
    assert later.id in stale.text
    anew = re.findall(r'name="preview" value="(\w+)"', stale.text)
    done = send(place, f"{BOARD}/rescore", suite=suite.digest, preview=anew[0])
    assert (done.status_code, done.headers["location"]) == (303, f"{BOARD}?done=rescored")
    assert place.site.board().suite == "mini@2"
    with place.site.database.read() as session:
        after = session.get_one(Score, later.id).average
    before = later.score.average if later.score else None
    assert before is not None
    assert after is not None
    assert before != after
    assert [(who, about) for who, about, _ in audited(place, "board-rescored")] == [("olga", "small-board")]
    assert {who for who, _, _ in audited(place, "submission-rescored")} == {"olga"}


def test_a_large_board_is_scored_in_parts(place: Peopled, monkeypatch: pytest.MonkeyPatch) -> None:
    place.site.app.state.rescored = Rescored(most=1)
    assert "board-too-large" in page(place, f"{BOARD}/rescore", 422)
    place.site.app.state.rescored = Rescored()
    monkeypatch.setattr("datacomp_server.pages.organise_rescore.PART_SECONDS", 0)
    suite = second_suite(place)
    gone_on = send(place, f"{BOARD}/rescore", suite=suite.digest, preview="of a server that was started anew since")
    assert gone_on.headers["location"] == f"{BOARD}/rescore?suite={suite.digest}"
    place.site.app.state.rescored = Rescored()
    headings = []
    while "Scoring, " in (shown := page(place, f"{BOARD}/rescore", suite=suite.digest)):
        headings += re.findall(r"Scoring, (\d+) of (\d+) submissions", shown)
    assert headings == [("1", "3")], "two of three have the same records, which are scored once"
    assert re.findall(r'name="preview" value="(\w+)"', shown)
    assert not place.changed
    whole = plan_rescoring(place.site.database, place.site.storage, "small-board", suite, lambda *_: None)
    assert whole.digest in shown, "parts add up to the same"


def test_suites_are_chosen_by_digest_and_must_fit(place: Peopled) -> None:
    assert "suite-unknown" in page(place, f"{BOARD}/rescore", 404, suite="../../etc/passwd")
    packaged = dict(re.findall(r'<option value="(\w{64})">(tiny@\w+)', page(place, BOARD)))
    unfit = page(place, f"{BOARD}/rescore", 422, suite=next(iter(packaged)))
    assert "Nothing is applied" in unfit
    assert 'name="preview"' not in unfit


def test_the_deviation_between_seeds_is_set_and_measured(place: Peopled) -> None:
    wrong = send(place, f"{BOARD}/deviation", how="set", average="much", main="1")
    assert (wrong.status_code, wrong.text.count("deviation-invalid")) == (422, 2)
    unmeasured = send(place, f"{BOARD}/deviation", how="measure")
    assert (unmeasured.status_code, "seeds-not-replicated" in unmeasured.text) == (422, True)
    assert not place.changed
    assert send(place, f"{BOARD}/deviation", how="set", average="0.01", main="0.02").status_code == 303
    with place.site.database.read() as session:
        found = session.get_one(Board, "small-board").seed_deviation
        assert session.scalars(sa.select(RankChange)).all(), "ranks are computed anew"
    assert found is not None
    assert (found["average"], found["main"], found["source"]) == (0.01, 0.02, "given")
    assert audited(place, "seed-deviation")[0][:2] == ("olga", "small-board")
    assert send(place, f"{BOARD}/deviation", how="default").status_code == 303
    assert "(default)" in page(place, BOARD)


def test_published_rows_are_imported_once(place: Peopled) -> None:
    for _ in range(2):
        assert send(place, f"{BOARD}/published").status_code == 303
    assert [line[:2] for line in audited(place, "published-imported")] == [("olga", "table3")] * 2
    assert "board-unknown" in send(place, "/organise/boards/none/published").text


@pytest.mark.parametrize("private", [False, True])
def test_the_export_is_what_the_console_writes(place: Peopled, tmp_path: Path, private: bool) -> None:
    with place.site.database.write() as session:
        board = session.get_one(Board, "small-board")
        board.private_tasks, board.reveals_at = [SUITE["tasks"][1]["key"]], now() + timedelta(days=1)
    count = export_board(place.site.database, place.site.settings, "small-board", tmp_path, private=private)
    assert count == 1
    written = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    reply = look(place, f"{BOARD}/export.zip", visiting(place, "olga"), params={"private": str(private).lower()})
    assert reply.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == written
    assert "board-unknown" in page(place, "/organise/boards/none/export.zip", 404)


def test_accounts_are_found_and_change_their_role(place: Peopled) -> None:
    everybody = page(place, "/organise/users")
    assert re.findall(r'href="/organise/users/(\w+)"', everybody) == [
        "ada",
        "grace",
        "mary",
        "olga",
        "organiser",
        "worker",
    ]
    assert re.findall(r'href="/organise/users/(\w+)"', page(place, "/organise/users", search="RA")) == ["grace"]
    assert re.findall(r'href="/organise/users/(\w+)"', page(place, "/organise/users", search="%")) == []
    assert re.findall(r'href="/organise/users/(\w+)"', page(place, "/organise/users", role="worker")) == ["worker"]
    assert "Lovelaces" in page(place, "/organise/users/ada")
    assert "account-unknown" in page(place, "/organise/users/nobody", 404)
    assert send(place, "/organise/users/grace/role", role="organiser").headers["location"].endswith("?done=role")
    assert look(place, "/organise", visiting(place, "grace")).status_code == 200
    assert [line[0] for line in audited(place, "role-changed")] == ["olga"]
    own = send(place, "/organise/users/olga/role", role="participant")
    assert (own.status_code, "own-role" in own.text) == (409, True)
    assert send(place, "/organise/users/grace/role", role="king").status_code == 422
    assert send(place, "/organise/users/nobody/role", role="worker").status_code == 404
    assert send(place, "/organise/users/grace/role", role="participant").status_code == 303
    assert look(place, "/organise", visiting(place, "grace")).status_code == 403


def test_a_link_for_a_password_is_shown_once(place: Peopled) -> None:
    reply = send(place, "/organise/users/grace/reset-link")
    link = re.search(r'id="link">http://testserver(/account/reset\?code=[^<]+)<', reply.text)
    assert link is not None
    assert 'name="again"' in place.site.http.get(link[1]).text
    assert [line[0] for line in audited(place, "reset-link-made")] == ["olga"]
    assert "/account/reset" not in page(place, "/organise/users/grace")
    workers = send(place, "/organise/users/worker/reset-link")
    assert (workers.status_code, "worker-no-password" in workers.text) == (403, True)


def test_the_audit_log_is_filtered(place: Peopled) -> None:
    send(place, f"{BOARD}/deviation", how="default")
    send(place, "/organise/runs/apply", act="cancel", id=place.submissions["training"], reason="so be it")

    def acts(**query: str) -> list[str]:
        return re.findall(r'<th scope="row">([\w-]+)</th>', page(place, "/audit", **query))

    assert acts(board="small-board")[:2] == ["submission-cancelled", "seed-deviation"]
    assert acts(board="another") == []
    assert set(acts(actor="olga")) >= {"submission-cancelled", "seed-deviation"}
    assert "submission-cancelled" not in acts(actor="ada")
    assert "submission-cancelled" in acts(account="ada")
    today = f"{now():%Y-%m-%d}"
    assert acts(since=today, until=today, board="small-board")[:1] == ["submission-cancelled"]
    assert acts(until=f"{now() - timedelta(days=2):%Y-%m-%d}") == []
    assert "day-invalid" in page(place, "/audit", 422, since="yesterday")
    assert "account-unknown" in page(place, "/audit", 404, actor="nobody")


def test_others_are_refused_and_led_back(place: Peopled) -> None:
    nobody = look(place, "/organise/runs?state=failed", {})
    assert nobody.headers["location"] == "/account/sign-in?next=/organise/runs%3Fstate%3Dfailed"
    refused = look(place, "/organise/runs", visiting(place, "ada"))
    assert (refused.status_code, "organisers-only" in refused.text) == (403, True)
    assert "/organise" not in look(place, "/", visiting(place, "ada")).text
    assert 'href="/organise"' in look(place, "/", visiting(place, "olga")).text
