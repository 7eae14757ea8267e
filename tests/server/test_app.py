"""The application as a whole: health, OpenAPI and its page, settings, commands."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, codes, write_boards
from typer.testing import CliRunner

from datacomp.cli import build
from datacomp.problems import BadInput, PlatformFault
from datacomp_server import schema
from datacomp_server.settings import Settings, load_settings

LONG = "long-enough-to-be-a-secret"


# --- health


@ONLY_SQLITE
def test_ready_when_everything_is_in_order(site: Site) -> None:
    assert site.http.get("/healthz").json() == {"status": "ok"}
    assert site.http.get("/readyz").json() == {"status": "ok"}


def test_not_ready_with_another_schema(site: Site) -> None:
    with site.database.write() as session:
        session.execute(sa.text("update alembic_version set version_num = 'other'"))
    try:
        reply = site.http.get("/readyz")
        assert (reply.status_code, codes(reply)) == (503, ["schema-outdated"])
        assert site.http.get("/healthz").status_code == 200
    finally:
        with site.database.write() as session:
            session.execute(sa.text("update alembic_version set version_num = :newest"), {"newest": schema.newest()})


@ONLY_SQLITE
def test_not_ready_without_storage(site: Site) -> None:
    storage = site.settings.data_dir / "storage"
    if storage.exists():
        for path in sorted(storage.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        storage.rmdir()
    storage.write_text("not a folder")
    reply = site.http.get("/readyz")
    assert reply.status_code == 503
    assert codes(reply) == ["storage-failed"]


# --- OpenAPI


@ONLY_SQLITE
def test_openapi_documents_every_endpoint(site: Site) -> None:
    document = site.http.get("/api/openapi.json").json()
    seen = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            where = f"{method} {path}"
            assert operation.get("description"), where
            assert operation["operationId"] not in seen, where
            seen.add(operation["operationId"])
            assert any(status.startswith("2") for status in operation["responses"]), where
            for status, answer in operation["responses"].items():
                if path.startswith("/api/") and status[0] in "45":
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorOut"}, f"{where} {status}"
    assert {tag["name"] for tag in document["tags"]} >= {
        operation["tags"][0] for item in document["paths"].values() for operation in item.values()
    }


@ONLY_SQLITE
def test_the_reference_needs_no_script_and_nothing_from_elsewhere(site: Site) -> None:
    reply = site.http.get("/api/docs")
    assert reply.status_code == 200
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "<script" not in reply.text
    assert " style=" not in reply.text
    sources = re.findall(r'<(?:link|img|script|iframe)[^>]*?(?:href|src)="([^"]*)"', reply.text)
    assert sources
    assert all(source.startswith("/static/") for source in sources)
    for path in site.http.get("/api/openapi.json").json()["paths"]:
        assert path in reply.text
    assert "SubmissionOut" in reply.text


@ONLY_SQLITE
def test_unknown_addresses_are_refused_as_programs_and_people_read_it(site: Site) -> None:
    assert codes(site.http.get("/api/nothing")) == ["not-found"]
    assert codes(site.http.delete("/api/boards")) == ["method-not-allowed"]
    page = site.http.get("/nothing", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert "<html" in page.text


# --- settings


def test_production_refuses_weak_secrets_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATACOMP_MODE", "production")
    monkeypatch.setenv("DATACOMP_WORKER_TOKEN", "short")
    with pytest.raises(BadInput) as caught:
        load_settings(organiser_token=LONG)
    (problem,) = caught.value.problems
    assert problem.code == "setting-invalid"
    assert "DATACOMP_SECRET_KEY" in problem.message
    assert "DATACOMP_WORKER_TOKEN" in problem.message
    assert "DATACOMP_ORGANISER_TOKEN" not in problem.message
    assert load_settings(secret_key=LONG, worker_token=LONG, organiser_token=LONG).lease_seconds == 60


def test_settings_name_the_variable_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATACOMP_PORT", "many")
    monkeypatch.setenv("DATACOMP_MAX_ATTEMPTS", "0")
    with pytest.raises(BadInput) as caught:
        load_settings()
    assert {problem.where for problem in caught.value.problems} == {"DATACOMP_PORT", "DATACOMP_MAX_ATTEMPTS"}


def test_secrets_are_not_shown() -> None:
    assert LONG not in repr(load_settings(secret_key=LONG, worker_token=LONG))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0", "port": 9000}, "http://127.0.0.1:9000"),
        ({"public_url": "https://example.org/"}, "https://example.org"),
    ],
)
def test_the_public_address(given: dict[str, object], url: str) -> None:
    assert load_settings(**given).public_url == url


# --- commands


@pytest.fixture
def command(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command over the test's database and returns what it printed."""
    settings = make_settings()
    monkeypatch.setenv("DATACOMP_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("DATACOMP_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("DATACOMP_BOARDS_FILE", str(settings.boards_file))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(build(), arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_an_organiser_at_the_console(command: Callable[..., str], site: Site) -> None:
    assert "newest version" in command("migrate")
    token = command("admin", "create-user", "margaret", "--role", "organiser").strip()
    me = site.http.get("/api/accounts/me", headers={"Authorization": f"Bearer {token}"})
    assert (me.json()["name"], me.json()["role"]) == ("margaret", "organiser")
    command("admin", "set-role", "margaret", "participant")
    second = command("admin", "new-token", "margaret", "--label", "second").strip()
    me = site.http.get("/api/accounts/me", headers={"Authorization": f"Bearer {second}"})
    assert me.json()["role"] == "participant"
    assert "small-board" in command("admin", "boards")
    with pytest.raises(Exception, match="account-unknown"):
        command("admin", "new-token", "nobody")


@ONLY_SQLITE
def test_checking_boards_changes_nothing(command: Callable[..., str], site: Site, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    path = write_boards(other, (tmp_path / "boards.toml").read_text().replace("small-board", "new-board"))
    command("admin", "boards", str(path), "--check")
    assert [board["name"] for board in site.http.get("/api/boards").json()] == ["small-board"]
    command("admin", "boards", str(path))
    assert {board["name"] for board in site.http.get("/api/boards").json()} == {"small-board", "new-board"}


def test_commands_refuse_a_database_that_was_not_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATACOMP_DATA_DIR", str(tmp_path))
    for arguments in (["dispatcher"], ["admin", "create-user", "ada"]):
        with pytest.raises(PlatformFault, match="schema-outdated"):
            CliRunner().invoke(build(), arguments, catch_exceptions=False)
