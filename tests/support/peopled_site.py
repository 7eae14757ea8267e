"""A site with somebody of every kind and a submission in every state, that can be put back to how it was.

Whatever must not be seen by others holds a word of its own, so that a leak shows in an answer's text.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pool_here import put_pool
from pydantic import SecretStr
from quick_server import quick_server
from server_site import ORGANISER_TOKEN, WORKER_TOKEN, Attempt, Site, running, uids, write_boards

from datacomp.messages import SUBSET_FILE, InviteCreate, Scope, Stage, SubmissionOut
from datacomp_server.accounts.models import ApiToken, Role, User, WebSession
from datacomp_server.accounts.service import AccountService
from datacomp_server.clock import now
from datacomp_server.notices.service import NoticeService
from datacomp_server.settings import Settings
from datacomp_server.teams.service import TeamService

PASSWORDS = {name: f"password-of-{name}-0f8a" for name in ("ada", "mary", "grace", "olga")}
"""ada owns a team that mary is in; grace is in none; olga is an organiser."""
EMAIL, HOOK, PRINTED = "ada@mail-of-ada.test", "https://hook-of-ada.test/", "printed-by-adas-file"
SUBSET = b"a subset"
"""What the attempt has stored."""
METRICS_TOKEN = "metrics-token-of-the-tests"
BOARDS = """
[[boards]]
name = "small-board"
title = "Small board"
scale = "tiny"
suite = "mini.json"
pool = "tiny"
submissions_per_day = 1000
max_upload_bytes = 1000000
show_images = true
"""


@dataclass
class Peopled:
    """The site, who is there, and what belongs to ada."""

    site: Site
    tokens: dict[str, str]
    """API tokens by who has them; `reader`, `expired` and `revoked` were ada's."""
    cookies: dict[str, str]
    """Browser sessions."""
    csrf: dict[str, str]
    submissions: dict[str, str]
    """ada's submissions by state; `team` was handed in for the team."""
    attempt: Attempt
    """A run of ada's, in a worker's hands."""
    things: dict[str, str]
    """Ids of ada's token, session, webhook, invitation; and the code of another invitation."""
    content: bytes
    """The file that the submission `uploading` waits for."""
    _kept: Path = field(default_factory=Path)
    _digest: str = ""
    _files: str = ""
    _version: int = 0

    @property
    def database_file(self) -> Path:
        return self.site.settings.data_dir / "datacomp.sqlite3"

    @property
    def storage_folder(self) -> Path:
        return self.site.settings.data_dir / "storage"

    def keep(self, folder: Path) -> None:
        """Remember how everything is now."""
        folder.mkdir()
        self._kept = folder
        with closing(sqlite3.connect(self.database_file)) as live, closing(sqlite3.connect(folder / "db")) as copy:
            live.backup(copy)
        shutil.copytree(self.storage_folder, folder / "storage")
        self._digest, self._files, self._version = self.digest(), self.files(), self.version()

    @cached_property
    def watching(self) -> sqlite3.Connection:
        """A connection that never writes: to it, the version of the data changes whenever anybody wrote any."""
        return sqlite3.connect(self.database_file, check_same_thread=False)

    def version(self) -> int:
        """Another number after every commit that wrote something."""
        number: int = self.watching.execute("PRAGMA data_version").fetchone()[0]
        return number

    def digest(self) -> str:
        """A digest of every row of every table."""
        return hashlib.sha256("\n".join(self.watching.iterdump()).encode()).hexdigest()

    def files(self) -> str:
        """Which files there are, and their sizes."""
        return str(sorted((path, path.is_file() and path.stat().st_size) for path in self.storage_folder.rglob("*")))

    @property
    def changed(self) -> bool:
        """Whether anything is otherwise than it was kept."""
        if self._files != self.files():
            return True
        return self._version != self.version() and self._digest != self.digest()

    def what_changed(self) -> list[str]:
        """Lines of the database that are new or gone."""
        lines = []
        for path in (self._kept / "db", self.database_file):
            with closing(sqlite3.connect(path)) as live:
                lines.append(set(live.iterdump()))
        return sorted(lines[0] ^ lines[1])

    def restore(self) -> None:
        """Make everything as it was kept."""
        with closing(sqlite3.connect(self._kept / "db")) as copy, closing(sqlite3.connect(self.database_file)) as live:
            copy.backup(live)
        self._version = self.version()
        if self._files != self.files():
            shutil.rmtree(self.storage_folder)
            shutil.copytree(self._kept / "storage", self.storage_folder)

    def secrets(self) -> dict[str, str]:
        """Everything that may never be said again, whoever asks, by what it is."""
        found = {f"token of {name}": token for name, token in self.tokens.items()}
        found |= {f"cookie of {name}": cookie for name, cookie in self.cookies.items()}
        found |= {f"password of {name}": password for name, password in PASSWORDS.items()}
        found |= {f"digest of the {name}": hashlib.sha256(value.encode()).hexdigest() for name, value in found.items()}
        found["metrics token"], found["invitation"] = METRICS_TOKEN, self.things["code"]
        with self.site.database.read() as session:
            hashes = session.scalars(sa.select(User.password_hash).where(User.password_hash.is_not(None))).all()
        return found | {f"password hash {number}": each for number, each in enumerate(hashes) if each}


@contextmanager
def peopled(folder: Path, **settings: Any) -> Iterator[Peopled]:
    """The site, running on SQLite; passwords are hashed cheaply."""
    values: dict[str, Any] = {
        "data_dir": folder, "boards_file": write_boards(folder, BOARDS),
        "worker_token": WORKER_TOKEN, "organiser_token": ORGANISER_TOKEN, "metrics_token": METRICS_TOKEN,
        "public_url": "http://testserver", "event_poll_seconds": 0.02, "rate_limits": False,
        "lease_seconds": 3600, "heartbeat_seconds": 600,
        "webhooks": True, "smtp_host": "127.0.0.1", "mail_from": "platform@example.test",
        "github_client_id": "client", "github_client_secret": SecretStr("the-secret-of-this-client"),
    }  # fmt: skip
    with quick_server(), running(Settings(**(values | settings))) as site:
        place = _fill(site)
        place.things["uid"] = put_pool(folder)[-1]
        place.keep(folder / "kept")
        try:
            yield place
        finally:
            place.watching.close()


def _fill(site: Site) -> Peopled:
    tokens = _people(site)
    submissions, attempt = _submissions(site)
    things = _belongings(site)
    cookies, csrf = {}, {}
    for name in PASSWORDS:
        cookies[name], csrf[name] = sign_in(site, name)
    with site.database.write() as session:
        # What is in use is not noted again within the hour, so reading writes nothing.
        session.execute(sa.update(ApiToken).values(last_used_at=now()))
        ada = session.scalar(sa.select(WebSession).join(User).where(User.name == "ada"))
        assert ada is not None
        things["session"] = ada.id
    content = uids(99)
    return Peopled(site, tokens, cookies, csrf, submissions, attempt, things, content)


def _people(site: Site) -> dict[str, str]:
    tokens = {"organiser": ORGANISER_TOKEN, "worker": WORKER_TOKEN, "malformed": "not-a-token"}
    with site.database.write() as session:
        accounts = AccountService(session, site.settings)
        for name, password in PASSWORDS.items():
            role = Role.ORGANISER if name == "olga" else Role.PARTICIPANT
            accounts.create_user(name, role, password, email=EMAIL if name == "ada" else f"{name}@example.test")
            tokens[name] = accounts.token_for(name, "made at the console").token
        tokens["reader"] = accounts.token_for("ada", "only reads", [Scope.READ]).token
        tokens["expired"], tokens["revoked"] = (accounts.token_for("ada", label).token for label in ("old", "gone"))
        session.flush()
        for label, change in (("old", sa.update(ApiToken).values(expires_at=now() - timedelta(1))), ("gone", None)):
            where = ApiToken.label == label
            session.execute(sa.delete(ApiToken).where(where) if change is None else change.where(where))
    site.tokens |= {name: tokens[name] for name in PASSWORDS}
    return tokens


def _submissions(site: Site) -> tuple[dict[str, str], Attempt]:
    """In ada's name: before she was in a team, then one for the team."""
    made: dict[str, SubmissionOut] = {}
    worker = site.worker()

    def hand_in(state: str, **changes: Any) -> SubmissionOut:
        made[state] = site.submit("ada", uids(len(made)), method=f"method {state}", **changes)
        return made[state]

    for state in ("scored", "withdrawn"):
        hand_in(state)
        worker.must_claim(Stage.VALIDATE).finish(log=PRINTED)
        worker.work()
    assert site.act("ada", made["withdrawn"].id, "withdraw").status_code == 200
    hand_in("rejected")
    assert worker.must_claim().fail("participant").status_code == 204
    hand_in("failed")
    worker.must_claim(Stage.VALIDATE).finish(log=PRINTED)
    assert worker.must_claim().fail("participant").status_code == 204
    hand_in("rehearsed", rehearsal=True)
    worker.work()
    hand_in("cancelled")
    assert site.act("ada", made["cancelled"].id, "cancel").status_code == 200
    for state, stage in (("training", Stage.TRAIN), ("evaluating", Stage.EVALUATE), ("validating", Stage.VALIDATE)):
        hand_in(state)
        attempt = worker.work_until(stage)
        assert attempt.beat(log=PRINTED if stage is Stage.VALIDATE else "epoch 1").status_code == 200
    assert attempt.store(SUBSET_FILE, SUBSET).status_code == 200
    with site.database.write() as session:
        teams = TeamService(session, site.settings)
        teams.create(site.viewer("ada"), "Lovelaces")
    with site.database.write() as session:
        teams = TeamService(session, site.settings)
        code = teams.invite(site.viewer("ada"), InviteCreate()).code
        teams.join(site.viewer("mary"), code)
    made["team"] = site.open("ada", uids(100), method="for the team")
    made["uploading"] = site.open("ada", uids(99), method="still to come")
    return {state: each.id for state, each in made.items()}, attempt


def _belongings(site: Site) -> dict[str, str]:
    things = {}
    with site.database.write() as session:
        ada = site.viewer("ada")
        things["webhook"] = NoticeService(session, site.settings).add_webhook(ada, HOOK).id
        teams = TeamService(session, site.settings)
        things["code"] = teams.invite(ada, InviteCreate(uses=5)).code
        session.flush()
        things["invite"] = teams.must_have(ada).invites[0].id
        things["token"] = session.scalars(sa.select(ApiToken.id).where(ApiToken.label == "only reads")).one()
    return things


def sign_in(site: Site, name: str) -> tuple[str, str]:
    """A new browser session: its cookie, and the token that its forms carry."""
    site.http.cookies.clear()
    page = site.http.get("/account/sign-in")
    form = {"csrf": form_token(page.text), "name": name, "password": PASSWORDS[name]}
    headers = {"Cookie": page.headers["set-cookie"].partition(";")[0]}
    reply = site.http.post("/account/sign-in", data=form, headers=headers, follow_redirects=False)
    assert reply.status_code == 303, reply.text
    cookie = reply.cookies["datacomp_session"]
    site.http.cookies.clear()
    csrf = form_token(site.http.get("/account/settings", headers={"Cookie": f"datacomp_session={cookie}"}).text)
    return cookie, csrf


def form_token(html: str) -> str:
    """The token that a page's forms carry."""
    found = re.search(r'name="csrf" value="([^"]+)"', html)
    assert found is not None, "the page has no form"
    return found[1]
