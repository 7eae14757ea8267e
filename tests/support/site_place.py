"""A real server (SQLite, in a thread) and people with browsers, for tests of the site."""

import io
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from pool_here import put_pool
from pydantic import SecretStr
from server_site import ORGANISER_TOKEN, WORKER_TOKEN, Site, write_boards

from datacomp import uids as u
from datacomp.client import Client
from datacomp.digests import digest_bytes
from datacomp.messages import SubmissionOut
from datacomp_server.app import create_app
from datacomp_server.settings import Settings

BOARDS = """
[[boards]]
name = "filtering-tiny"
title = "Filtering, tiny"
description = "A small image-text pool that behaves like a crawl."
scale = "tiny"
suite = "mini.json"
pool = "tiny"
show_images = true
submissions_per_day = 50
dedup = { mode = "report" }

[[boards]]
name = "filtering-medium"
title = "Filtering, medium"
scale = "medium"
suite = "mini.json"
pool = "medium"
submissions_per_day = 1
max_upload_bytes = 4096

[[boards]]
name = "own-tiny"
title = "Your own data, tiny"
track = "byod"
scale = "tiny"
suite = "mini.json"
pool = "tiny"
submissions_per_day = 50
"""
PASSWORD = "correct horse battery"
PATIENCE = 30_000
"""Milliseconds until something that does not appear is a failure: long, for machines that are busy."""
REFUSED = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")
"""Chromium's own note about a page that is a refusal."""


@dataclass(frozen=True)
class Running:
    """A server that answers at an address, and the tests' way to it."""

    url: str
    site: Site

    def join(self, name: str) -> None:
        """A new participant with the tests' password."""
        self.site.tokens[name] = Client(self.url).register(name, PASSWORD).token

    def submitted(self, name: str, method: str) -> SubmissionOut:
        """A submission that nobody has worked on."""
        return self.site.submit(name, npy(10, method), board="filtering-tiny", method=method)

    def scored(self, name: str, method: str, right: int) -> SubmissionOut:
        """A submission that went all the way and got so many of 8 items right."""
        return self.site.score(name, npy(10, method), colours=right, board="filtering-tiny", method=method)


def npy(n: int, seed: str, *, turned: bool = False) -> bytes:
    """A subset file of n uids that only this seed gives, sorted or turned round."""
    uids = u.sort(u.from_hex([digest_bytes(f"{seed} {place}".encode())[:32] for place in range(n)]))
    out = io.BytesIO()
    np.save(out, uids[::-1] if turned else uids)
    return out.getvalue()


@contextmanager
def running_site(root: Path) -> Iterator[Running]:
    """A server in a thread of this process, on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = Settings(
            data_dir=root,
            boards_file=write_boards(root, BOARDS),
            public_url=url,
            worker_token=SecretStr(WORKER_TOKEN),
            organiser_token=SecretStr(ORGANISER_TOKEN),
            event_poll_seconds=0.05,
            rate_limits=False,
        )
        put_pool(root)
        app = create_app(settings)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server ended before it served"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        with httpx.Client(base_url=url, timeout=30) as http:
            yield Running(url, Site(settings, app, http))
        server.should_exit = True
        thread.join(10)


@dataclass
class Person:
    """Somebody with a browser of their own. What its console complains about is kept."""

    url: str
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """A page of the site in a new tab."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.url + path, wait_until="domcontentloaded")
        return page

    def sign_up(self, name: str) -> Page:
        """Make an account by the form; ends on the account's page."""
        page = self.open("/account/register")
        fill(page, {"Name": name, "Password": PASSWORD})
        page.get_by_role("button", name="Make the account").click()
        page.wait_for_url("**/account")
        return page

    def sign_in(self, name: str, then: str) -> Page:
        """Sign in by the form on the way to another page."""
        page = self.open("/account/sign-in?next=" + then)
        fill(page, {"Name": name, "Password": PASSWORD})
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**" + then)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not REFUSED.match(message.text):
            self.complaints.append(message.text)


def fill(page: Page, texts: dict[str, str]) -> None:
    """Fill fields by the beginning of their labels."""
    for label, text in texts.items():
        page.get_by_label(re.compile(f"^{label}")).fill(text)


@contextmanager
def person(browser: Browser, url: str, *, js: bool = True, width: int = 1280, dark: bool = False) -> Iterator[Person]:
    """A new visitor. Leaving checks that no page made the console complain."""
    context = browser.new_context(
        java_script_enabled=js,
        viewport={"width": width, "height": 800},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    visitor = Person(url, context)
    try:
        yield visitor
    finally:
        context.close()
    assert visitor.complaints == []


def serious(page: Page) -> list[str]:
    """What axe-core finds wrong with a page that keeps somebody from using it."""
    found = Axe().run(page, options={"resultTypes": ["violations"]})["violations"]
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"][:3]
    ]
