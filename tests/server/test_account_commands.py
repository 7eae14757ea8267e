"""`datacomp account`, `datacomp team`, login and logout, against a running server."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from server_site import ONLY_SQLITE, Site
from typer.testing import CliRunner

from datacomp.account_client import AccountClient
from datacomp.cli import build
from datacomp.http import Refused

pytestmark = ONLY_SQLITE
PASSWORD = "correct horse battery"
Run = Callable[..., str]
Person = Callable[..., Run]


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Somebody's terminal, with a login of its own."""

    def make(name: str) -> Run:
        def run(*words: str, typed: str = "", code: int = 0) -> str:
            monkeypatch.setenv("DATACOMP_CONFIG", str(tmp_path / f"{name}.json"))
            result = CliRunner().invoke(build(), list(words), input=typed, catch_exceptions=code == 0)
            if code == 0 and result.exception is not None:
                raise result.exception
            return result.output

        return run

    return make


@pytest.fixture
def ada(person: Person, address: str) -> Run:
    run = person("ada")
    run("login", address, "--register", "--name", "ada", "--password", PASSWORD)
    return run


def test_tokens_from_the_terminal(ada: Run, address: str) -> None:
    assert "this token may read, submit, account" in " ".join(ada("whoami").split())
    made = ada("account", "new-token", "for ci", "--scope", "submit", "--expires-days", "3", "--password", PASSWORD)
    narrow = AccountClient(address, made.strip())
    assert narrow.whoami().scopes == ["submit"]
    shown = {line["label"]: line for line in json.loads(ada("account", "tokens", "--json"))}
    assert shown["for ci"]["scopes"] == ["submit"]
    assert "for ci" in ada("account", "tokens")
    ada("account", "revoke-token", shown["for ci"]["id"])
    with pytest.raises(Refused, match="token-dead"):
        narrow.whoami()
    assert "revoked" in ada("logout")
    with pytest.raises(Exception, match="not-logged-in"):
        ada("whoami")


def test_a_team_from_the_terminal(ada: Run, person: Person, address: str) -> None:
    grace = person("grace")
    grace("login", address, "--register", "--name", "grace", "--password", PASSWORD)
    assert "ada (owner)" in ada("team", "create", "The Sieves")
    link = ada("team", "invite", "--days", "2").split()[0]
    assert "grace" in grace("team", "join", link)
    assert "team The Sieves" in " ".join(grace("whoami").split())
    assert "grace (owner)" in ada("team", "transfer", "grace")
    ada("team", "leave")
    with pytest.raises(Refused, match="no-team"):
        ada("team", "show")
    assert "0 of 20" in grace("account", "quota")


def test_data_and_deletion_from_the_terminal(ada: Run, site: Site, tmp_path: Path) -> None:
    out = tmp_path / "ada-export.json"
    ada("account", "export", "--out", str(out))
    assert json.loads(out.read_text())["name"] == "ada"
    assert out.stat().st_mode & 0o077 == 0
    assert "off" in ada("account", "mail")
    assert ada("account", "webhooks") == ""
    ada("account", "sign-out-everywhere")
    ada("account", "password", typed=f"{PASSWORD}\nanother password\nanother password\n")
    with pytest.raises(Refused, match="name-differs"):
        ada("account", "delete", "--submissions", "withdraw", typed="bob\nanother password\n")
    assert "deleted" in ada("account", "delete", "--submissions", "withdraw", typed="ada\nanother password\n")
    lines = site.http.get("/api/audit", params={"what": "account-deleted"}, headers=site.headers("organiser")).json()
    assert lines[0]["actor"].startswith("deleted-")


def test_the_audit_log_from_the_terminal(person: Person, ada: Run, site: Site, address: str) -> None:
    organiser = person("organiser")
    organiser("login", address, "--token", site.tokens["organiser"])
    assert "registered" in organiser("audit", "--account", "ada")
    assert json.loads(organiser("audit", "--what", "registered", "--json"))[0]["actor"] == "ada"
    with pytest.raises(Refused, match="organisers-only"):
        ada("audit")
