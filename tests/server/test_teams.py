"""Teams: coming and going, what members may do, and one allowance for all of them."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, codes, uids

from datacomp.messages import Stage
from datacomp_server.accounts.models import TeamInvite, TeamMember
from datacomp_server.boards.models import Board
from datacomp_server.clock import now


def post(site: Site, who: str, path: str, /, **body: Any) -> Any:
    return site.http.post(f"/api/team{path}", json=body, headers=site.headers(who))


def found(site: Site, owner: str, *members: str, name: str = "The Sieves") -> None:
    """A team with its members."""
    made = post(site, owner, "", name=name)
    assert made.status_code == 201, made.text
    code = post(site, owner, "/invites", uses=max(len(members), 1)).json()["code"]
    for member in members:
        joined = post(site, member, "/join", code=code)
        assert joined.status_code == 200, joined.text


def members(site: Site, name: str) -> list[tuple[str, bool]]:
    team = site.http.get("/api/team", headers=site.headers(name)).json()
    return [(member["name"], member["owner"]) for member in team["members"]]


def test_a_team_is_made_joined_handed_over_and_left(site: Site) -> None:
    found(site, "ada", "grace", "edsger")
    assert members(site, "grace") == [("ada", True), ("grace", False), ("edsger", False)]
    assert codes(post(site, "ada", "/leave")) == ["owner-must-hand-over"]
    assert codes(post(site, "grace", "/remove", name="edsger")) == ["owners-only"]
    assert post(site, "ada", "/transfer", name="Grace").status_code == 200
    assert codes(post(site, "ada", "/invites")) == ["owners-only"]
    assert post(site, "ada", "/leave").status_code == 204
    assert post(site, "grace", "/remove", name="edsger").status_code == 200
    assert members(site, "grace") == [("grace", True)]
    assert codes(site.http.get("/api/team", headers=site.headers("edsger"))) == ["no-team"]
    assert post(site, "grace", "/leave").status_code == 204
    assert post(site, "grace", "", name="Another").status_code == 201


@ONLY_SQLITE
def test_one_is_in_one_team_and_names_are_shared_with_accounts(site: Site) -> None:
    found(site, "ada", "grace")
    for name in ("ada", "grace"):
        assert codes(post(site, name, "", name="Second")) == ["in-a-team"]
    for name in ("THE sieves", "ADA", "worker", "deleted-1"):
        assert codes(post(site, "edsger", "", name=name)) == ["name-taken"]
    taken = site.http.post("/api/accounts", json={"name": "Second.Team", "password": "long enough"})
    assert taken.status_code == 201
    assert codes(post(site, "edsger", "", name="second.team")) == ["name-taken"]
    assert post(site, "edsger", "", name="bad  \n name").status_code == 422
    worker = site.http.post("/api/team", json={"name": "Robots"}, headers=site.headers("worker"))
    assert worker.status_code == 403


@ONLY_SQLITE
def test_invitations_end_by_use_time_and_revocation(site: Site) -> None:
    found(site, "ada", "grace")
    once = post(site, "ada", "/invites", uses=1).json()["code"]
    assert post(site, "edsger", "/join", code=once).status_code == 200
    late, revoked = (post(site, "ada", "/invites").json()["code"] for _ in range(2))
    newest = site.http.get("/api/team", headers=site.headers("ada")).json()["invites"][0]["id"]
    assert site.http.delete(f"/api/team/invites/{newest}", headers=site.headers("ada")).status_code == 204
    with site.database.write() as session:
        session.execute(sa.update(TeamInvite).values(expires_at=now() - timedelta(seconds=1)))
    for code in (once, late, revoked, "dc_nonsense"):
        assert codes(post(site, "barbara", "/join", code=code)) == ["invite-unknown"]
    with site.database.read() as session:
        stored = " ".join(session.scalars(sa.select(TeamInvite.digest)))
    assert once not in stored


@ONLY_SQLITE
def test_members_see_and_change_what_is_the_teams_and_others_do_not(site: Site) -> None:
    alone = site.submit("grace", uids(9))
    found(site, "ada", "grace")
    shared = site.submit("ada", uids(1), kind="code", filename="mine.py")
    attempt = site.worker().must_claim(Stage.VALIDATE)
    if attempt.job.submission != shared.id:
        attempt = site.worker("worker-2").must_claim(Stage.VALIDATE)
    attempt.beat(log="a secret of the team\n")
    assert site.receipt(shared.id, "grace").team == "The Sieves"
    assert "a secret" in site.receipt(shared.id, "grace").runs[0].log_tail
    assert "a secret" not in site.receipt(shared.id, "edsger").runs[0].log_tail
    listed = site.http.get("/api/submissions", headers=site.headers("grace")).json()
    assert {line["id"] for line in listed} == {alone.id, shared.id}
    assert site.act("ada", alone.id, "cancel").status_code == 403, "what was handed in before stays one's own"
    assert site.act("edsger", shared.id, "cancel").status_code == 403
    assert post(site, "ada", "/transfer", name="grace").status_code == 200
    assert post(site, "ada", "/leave").status_code == 204
    assert site.act("ada", shared.id, "cancel").status_code == 403, "it is the team's"
    assert "a secret" in site.receipt(shared.id, "ada").runs[0].log_tail
    assert site.act("grace", shared.id, "cancel").status_code == 200


def test_boards_name_the_team(site: Site) -> None:
    found(site, "ada", "grace")
    scored = site.score("grace", uids(1))
    (row,) = site.board().rows
    assert (row.submission, row.team, row.participant) == (scored.id, "The Sieves", "grace")
    alone = site.score("mary", uids(2), colours=1)
    query = "/api/leaderboard?board=small-board&sort=participant"
    orders = [site.http.get(query + end).json()["rows"] for end in ("", "&descending=true")]
    expected = [alone.id, scored.id]  # mary before the sieves, whose member grace comes before mary
    assert [[row["submission"] for row in rows] for rows in orders] == [expected, expected[::-1]]


def spend(site: Site, name: str, status: int = 201) -> None:
    reply = site.http.post("/api/submissions", json=site.announce(b"content"), headers=site.headers(name))
    assert reply.status_code == status, reply.text


def test_nobody_has_two_allowances_whoever_joins_or_leaves(site: Site) -> None:
    with site.database.write() as session:
        session.execute(sa.update(Board).values(submissions_per_day=2))
    spend(site, "grace")  # alone
    found(site, "ada", "grace", "edsger")
    spend(site, "edsger")  # the team's second, with grace's own
    for name in ("ada", "grace", "edsger"):
        spend(site, name, 429)
    assert post(site, "grace", "/leave").status_code == 204
    spend(site, "grace", 429)  # her own, and what was handed in while she was a member
    assert post(site, "ada", "/remove", name="edsger").status_code == 200
    spend(site, "edsger")
    spend(site, "edsger", 429)
    spend(site, "ada")  # the team has used one since grace left
    spend(site, "ada", 429)
    assert post(site, "ada", "/leave").status_code == 204
    assert post(site, "ada", "", name="Anew").status_code == 201
    spend(site, "ada", 429)  # a new team of the same people has used what they used


def test_a_membership_is_unique_in_the_database_too(site: Site) -> None:
    found(site, "ada")
    user = site.viewer("ada")
    with pytest.raises(sa.exc.IntegrityError), site.database.write() as session:
        session.add(TeamMember(team_id=user.team_id, user_id=user.user_id, owner=False))
