"""Our own client goes on with what it finds unfinished, over lines that are cut."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cutting_proxy import CuttingProxy
from server_site import ONE_BOARD, ONLY_SQLITE, Site, running, serving, uids, write_boards
from tus_uploads import CONTENT, client_of, patch, small_pieces

from datacomp.problems import BadInput
from datacomp_server import streaming
from datacomp_server.settings import Settings
from datacomp_server.uploads import arrival


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)


@ONLY_SQLITE
def test_a_line_that_is_cut_and_a_server_that_is_replaced(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "PIECE", 8 << 20)
    monkeypatch.setattr(streaming, "BLOCK", 1 << 20)
    settings = make_settings()
    write_boards(settings.data_dir, ONE_BOARD.replace("1000000", "100000000"))
    size, path = 20_000_000, tmp_path / "large.npy"
    path.write_bytes(os.urandom(size))
    with running(settings) as site, serving(site.app) as first, serving(site.app) as second:
        proxy = CuttingProxy(urlsplit(first).port or 0, cuts=5, every=size // 6)
        reports: list[int] = []

        def report(done: int, _: int) -> None:
            reports.append(done)
            if done > size // 2:
                proxy.port = urlsplit(second).port or 0

        receipt = client_of(site, proxy.url).submit(path, "small-board", report=report)
        proxy.close()
        assert (receipt.state, reports[-1], proxy.done) == ("validating", size, 5)
        assert Path(site.storage.path(f"uploads/{receipt.id}/content")).read_bytes() == path.read_bytes()
        assert (proxy.received - size) / size < 0.1, "what arrived before a cut is not sent again"


@ONLY_SQLITE
def test_our_client_goes_on_with_what_it_finds_unfinished(site: Site, address: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.npy"
    path.write_bytes(CONTENT)
    client = client_of(site, address)
    opened = site.open("ada", CONTENT, method="mine", filename="mine.npy")
    patch(site, opened, 0, CONTENT[:50_000])
    seen: list[int] = []
    receipt = client.submit(path, "small-board", report=lambda done, _: seen.append(done))
    assert (receipt.id, receipt.state) == (opened.id, "validating")
    assert seen[0] == 50_000
    assert seen[-1] == len(CONTENT)
    assert client.submit(path, "small-board").id != opened.id, "what is complete is another submission"
    assert client.submit(path, "small-board", method="other").method == "other"


@ONLY_SQLITE
def test_our_client_goes_on_with_a_named_submission_and_the_same_file_only(
    site: Site, address: str, tmp_path: Path
) -> None:
    path, other = tmp_path / "mine.npy", tmp_path / "other.npy"
    path.write_bytes(CONTENT)
    other.write_bytes(uids(9))
    client = client_of(site, address)
    opened = site.open("ada", CONTENT)
    with pytest.raises(BadInput, match="resume-other-file"):
        client.resume(opened.id, other)
    assert client.resume(opened.id, path).state == "validating"
    assert client.resume(opened.id, path).state == "validating", "nothing is left to send"
    ended = site.open("ada", uids(4))
    site.act("ada", ended.id, "cancel")
    path.write_bytes(uids(4))
    with pytest.raises(BadInput, match="upload-too-late"):
        client.resume(ended.id, path)
