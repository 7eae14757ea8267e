"""Nothing secret in logs, and no form that another site could send."""

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import hook
from provider import CLIENT, SECRET, provider
from pydantic import SecretStr
from server_site import ONLY_SQLITE, ORGANISER_TOKEN, WORKER_TOKEN, Site, running, uids
from starlette.routing import Route

from datacomp.logs import LogFormat
from datacomp_server.notices.notifier import Notifier
from datacomp_server.operation.logs import log_as_set
from datacomp_server.settings import Settings

pytestmark = ONLY_SQLITE
PASSWORD, WRONG, NEW = "correct horse battery", "a wrong password that was typed", "another horse battery"
KEY = "the secret key of this test's server"


@pytest.fixture
def logs(make_settings: Callable[..., Settings]) -> Iterator[Callable[[Settings], io.StringIO]]:
    """Everything that is logged, at the most talkative level, also by the libraries that are never asked to."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def begin(settings: Settings) -> io.StringIO:
        stream = io.StringIO()
        log_as_set(stream, settings)  # type: ignore[arg-type]
        return stream

    yield begin
    root.handlers[:] = before
    root.setLevel(level)


def csrf(site: Site, path: str) -> str:
    return re.findall(r'name="csrf" value="([^"]+)"', site.http.get(path).text)[0]


def send(site: Site, path: str, page: str, **fields: str) -> Any:
    return site.http.post(path, data={"csrf": csrf(site, page), **fields}, follow_redirects=False)


@pytest.mark.parametrize("form", list(LogFormat))
def test_a_whole_session_leaves_no_secret_in_the_logs(
    make_settings: Callable[..., Settings], logs: Callable[[Settings], io.StringIO], form: LogFormat
) -> None:
    with provider() as elsewhere, hook() as end:
        end.statuses = [500]
        elsewhere.person = {"sub": "1", "preferred_username": "grace"}
        settings = make_settings(
            log_level="DEBUG", log_format=form, secret_key=KEY, webhooks=True, webhook_private=True, notice_tries=1,
            oidc_issuer=elsewhere.url, oidc_client_id=CLIENT, oidc_client_secret=SecretStr(SECRET),
        )  # fmt: skip
        heard = logs(settings)
        with running(settings) as site:
            secrets = a_whole_session(site, end.url)
            assert Notifier(site.database, settings).step() == 1
        said = heard.getvalue()
    assert "given up" in said, "the log was heard"
    assert said.count("/account/sign-in") > 1
    secrets |= {SECRET, KEY, WORKER_TOKEN, ORGANISER_TOKEN, "access_token", "secret-of-the-hook"}
    found = {secret for secret in secrets if secret in said}
    assert not found
    assert "dc_" not in said


def a_whole_session(site: Site, hook_url: str) -> set[str]:
    """Registration, sign-in right and wrong, tokens, a webhook, a team, sign-in elsewhere; returns the secrets."""
    assert send(site, "/account/register", "/account/register", name="ada", password=PASSWORD).status_code == 303
    cookie = site.http.cookies["datacomp_session"]
    made = send(site, "/account/tokens", "/account", label="laptop").text
    token = re.findall(r'id="token">([^<]+)<', made)[0]
    headers = {"Authorization": f"Bearer {token}"}
    assert site.http.get("/api/accounts/me", headers=headers).status_code == 200
    assert site.http.get("/api/accounts/me", headers={"Authorization": f"Bearer {token}x"}).status_code == 401
    site.tokens["ada"] = token
    webhook = send(site, "/account/webhooks", "/account/settings", url=hook_url + "/secret-of-the-hook").text
    signing = re.findall(r'id="secret">([^<]+)<', webhook)[0].replace("&#43;", "+")
    receipt = site.submit("ada", uids(1))
    site.act("ada", receipt.id, "cancel")
    assert send(site, "/team/create", "/team", name="The Sieves").status_code == 303
    code = re.findall(r"code=(dc_[^<]+)<", send(site, "/team/invites", "/team", days="1", uses="1").text)[0]
    assert site.http.get(f"/team/join?code={code}").status_code == 200
    changed = send(site, "/account/password", "/account/settings", current=PASSWORD, new=NEW, again=NEW)
    assert changed.status_code == 303
    send(site, "/account/sign-out", "/account")
    assert send(site, "/account/sign-in", "/account/sign-in", name="ada", password=WRONG).status_code == 401
    site.http.post("/api/tokens", json={"name": "ada", "password": WRONG, "scopes": ["nonsense"]})
    import httpx2

    away = site.http.get("/account/with/oidc", follow_redirects=False).headers["location"]
    back = httpx2.get(away).headers["location"]
    path = back.removeprefix(site.settings.public_url)
    assert site.http.get(path, follow_redirects=False).status_code == 303
    query = dict(re.findall(r"[?&](\w+)=([^&]+)", back))
    return {PASSWORD, WRONG, NEW, cookie, token, signing, code, query["code"], query["state"]}


def test_json_logs_are_json(make_settings: Callable[..., Settings], logs: Callable[[Settings], io.StringIO]) -> None:
    heard = logs(make_settings(log_format=LogFormat.JSON))
    logging.getLogger("datacomp_server").warning("something")
    assert json.loads(heard.getvalue())["message"] == "something"


# --- forms


def posts(site: Site) -> list[str]:
    """Every address of the pages that takes a form."""
    found, seen = [], list(site.app.routes)
    while seen:
        route = seen.pop()
        seen += getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", [])
        if isinstance(route, Route) and "POST" in (route.methods or ()) and not route.path.startswith("/api/"):
            found.append(route.path)
    return sorted(set(found))


def test_every_form_is_refused_without_its_token(site: Site) -> None:
    send(site, "/account/register", "/account/register", name="ada", password=PASSWORD)
    addresses = posts(site)
    assert {"/account/sign-in", "/account/delete", "/team/leave", "/submit", "/account/webhooks"} <= set(addresses)
    for address in addresses:
        path = re.sub(r"\{change\}", "cancel", address)
        path = re.sub(r"\{[^}]+\}", "0" * 16, path)
        for data in ({"name": "ada"}, {"csrf": "0" * 64}):
            reply = site.http.post(path, data=data, follow_redirects=False)
            assert reply.status_code == 403, f"{path} took a form without its token: {reply.status_code}"
            assert "form-expired" in reply.text
        headers = {"Sec-Fetch-Site": "cross-site"}
        foreign = site.http.post(path, data={"csrf": csrf(site, "/account")}, headers=headers, follow_redirects=False)
        assert foreign.status_code == 403, f"{path} took a form from another site"


def test_every_form_in_a_template_carries_the_token(site: Site) -> None:
    import datacomp_server.resources as resources

    templates = sorted(Path(resources.web_dir(), "templates").glob("*.html"))
    assert len(templates) > 10
    for template in templates:
        for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", template.read_text(), re.DOTALL):
            assert "csrf(site)" in form, f"{template.name}: {form[:80]}"
