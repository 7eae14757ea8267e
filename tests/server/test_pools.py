"""Pools that the server has a copy of: what is told of them, what expressions would keep, whose images are shown."""

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pool_here import put_pool
from server_site import ONE_BOARD, ORGANISER_TOKEN, WORKER_TOKEN, Site, codes, running, uids, write_boards
from small_pool import CAPTIONS

from datacomp import plugins
from datacomp.commands.filter import preview_filter
from datacomp.messages import Kept, PoolOut, PreviewOut, SubsetResult
from datacomp.problems import BadInput, PlatformFault
from datacomp_server.boards.removals import Removals
from datacomp_server.pools import previews
from datacomp_server.pools.library import Library, Shelf
from datacomp_server.pools.pictures import shown
from datacomp_server.pools.previews import Previews
from datacomp_server.settings import Settings

SECOND = '\n[[boards]]\nname = "hidden-board"\ntitle = "H"\nscale = "tiny"\nsuite = "mini.json"\npool = "tiny"\n'
ABSENT = '\n[[boards]]\nname = "absent-board"\ntitle = "A"\nscale = "tiny"\nsuite = "mini.json"\npool = "elsewhere"\n'
ROWS = 60
FACE = [[0.0, 0.0, 0.5, 1.0]]


@dataclass(frozen=True)
class Place:
    """A site with a pool, and the pool's uids in the order of rows."""

    site: Site
    uids: list[str]

    def preview(self, expression: str, board: str = "small-board"):
        return self.site.http.post(f"/api/boards/{board}/preview", json={"expression": expression})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("pools")
    faces = [FACE if row == ROWS - 1 else [] for row in range(ROWS)]
    boxes = pa.array(faces, pa.list_(pa.list_(pa.float64())))
    made = put_pool(folder, language=True, rows=ROWS, overrides={"face_bboxes": boxes})
    boards = write_boards(folder, ONE_BOARD + "show_images = true\n" + SECOND + ABSENT)
    with running(
        Settings(
            data_dir=folder,
            boards_file=boards,
            rate_limits=False,
            worker_token=WORKER_TOKEN,
            organiser_token=ORGANISER_TOKEN,
        )
    ) as site:
        yield Place(site, made)


def test_what_a_pool_contains(place: Place) -> None:
    told = PoolOut.model_validate(place.site.http.get("/api/boards/small-board/pool").json())
    assert (told.here, told.rows, told.with_image) == (True, ROWS, ROWS - 2)
    assert all(sum(each.rows) == ROWS for each in told.counted)
    words = next(each for each in told.counted if each.name == "words")
    expected = [len(CAPTIONS[row % len(CAPTIONS)].split()) for row in range(ROWS)]
    assert words.rows[0] == expected.count(0)
    assert words.rows[1] == expected.count(1)
    assert told.same_caption == ROWS - len(CAPTIONS)
    assert told.same_image == 0
    assert "words" in told.columns
    assert not {"image_hash", "tar", "uid"} & set(told.columns)


def test_without_a_copy_it_says_so(place: Place) -> None:
    told = place.site.http.get("/api/boards/absent-board/pool").json()
    assert (told["here"], told["rows"]) == (False, None)
    assert "no copy of the pool 'elsewhere'" in told["why"]
    reply = place.preview("words > 2", "absent-board")
    assert (reply.status_code, codes(reply)) == (404, ["pool-not-here"])
    assert str(place.site.settings.data_dir) not in reply.text
    page = place.site.http.get("/boards/absent-board/pool")
    assert page.status_code == 200
    assert "No copy of the pool here" in page.text


def test_a_pool_that_is_another_one_is_no_copy(place: Place) -> None:
    library = Library(place.site.settings.data_dir / "pools")
    digest = library.shelf("tiny", None).digest
    assert library.shelf("tiny", digest).pool.rows == ROWS
    with pytest.raises(Exception, match="is another one"):
        library.shelf("tiny", "0" * 64)


def test_a_preview_keeps_what_the_tool_keeps(place: Place) -> None:
    for rule in ("words >= 3 and clip_l14_similarity_score > 0.1", "top_fraction(clip_b32_similarity_score, 0.25)"):
        reply = place.preview(rule)
        assert reply.status_code == 200, reply.text
        kept = PreviewOut.model_validate(reply.json()).kept
        here = preview_filter(rule, place.site.settings.data_dir / "pools" / "tiny", {})
        assert (kept.rows_kept, kept.unique, kept.rows_in) == (here.rows_kept, here.unique, ROWS)
        words = next(each for each in kept.binned if each.name == "words")
        assert tuple(words.kept) == here.words.kept
        assert all(sum(each.kept) == kept.rows_kept for each in kept.binned)
        assert set(kept.kept_uids).isdisjoint(kept.dropped_uids)
        assert set(kept.kept_uids + kept.dropped_uids) <= set(place.uids)


def test_repeats_are_counted(place: Place) -> None:
    kept = PreviewOut.model_validate(place.preview("sample(words, 90)").json()).kept
    assert kept.rows_kept == 90
    assert kept.unique < 60
    assert all(sum(each.kept) == 90 for each in kept.binned)


@pytest.mark.parametrize(
    ("expression", "where", "says"),
    [
        ("wordz > 3", "column 1 of", "there is no column 'wordz'"),
        ("words > 3 and", "column 14 of", "ends too early"),
        ("words >= 1 or dedup(0.9)", "column 15 of", "'dedup' runs a filter's own code"),
        ("not clip_score", "column 5 of", "'clip_score' runs a filter's own code"),
        ("words / 2", "", "does not say which rows"),
        ("original_width", "", "more than 10 times"),
        ("words > " + "+".join(["percentile(words)"] * 9), "column", "at most 8 functions"),
    ],
)
def test_what_cannot_be_tried_is_pointed_at(
    place: Place, monkeypatch: pytest.MonkeyPatch, expression: str, where: str, says: str
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(plugins, "load", lambda group, name: loaded.append(name))
    reply = place.preview(expression)
    problem = reply.json()["problems"][0]
    assert reply.status_code == 422
    assert says in problem["message"]
    assert where in (problem["where"] or "")
    assert not {"dedup", "clip_score"} & set(loaded), "the server runs no filter's code"
    if "own code" in says:
        assert "datacomp filter" in problem["hint"]


def test_no_folder_is_told(place: Place) -> None:
    reply = place.preview("near(eval)")
    assert reply.status_code == 422
    assert str(place.site.settings.data_dir) not in reply.text
    assert "datacomp pool near DIR" in reply.text


def test_previews_are_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Library(place.site.settings.data_dir / "pools").shelf("tiny", None)
    with pytest.raises(BadInput, match="at most 59"):
        Previews(59, 20).look(shelf, "words > 2")
    with pytest.raises(BadInput, match="takes longer"):
        Previews(100, 0).look(shelf, "words > 2")
    monkeypatch.setattr(previews, "PATIENCE", 0.01)
    busy = Previews(100, 20)
    with busy._turn, pytest.raises(PlatformFault, match="other expressions"):
        busy.look(shelf, "words > 2")
    assert busy.look(shelf, "words > 2")[0].rows_in == ROWS


def test_one_at_a_time_and_only_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Library(place.site.settings.data_dir / "pools").shelf("tiny", None)
    calls: list[str] = []
    inside = threading.Lock()
    whole = Previews._evaluate

    def watched(self: Previews, pool: object, expression: str, removed: object) -> tuple[Kept, float]:
        assert inside.acquire(blocking=False), "two at once"
        calls.append(expression)
        try:
            return whole(self, pool, expression, removed)  # type: ignore[arg-type]
        finally:
            inside.release()

    monkeypatch.setattr(Previews, "_evaluate", watched)
    desk, found = Previews(100, 20), []
    threads = [
        threading.Thread(target=lambda n=n: found.append(desk.look(shelf, f"words > {n % 2}")[0])) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert sorted(calls) == ["words > 0", "words > 1"]


def test_images_of_boards_that_show_them(place: Place) -> None:
    uid = place.uids[-1]
    reply = place.site.http.get(f"/boards/small-board/pool/images/{uid}.webp")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/webp")
    with Image.open(io.BytesIO(reply.content)) as picture:
        assert picture.size == (40, 32)
        pixels = np.asarray(picture.convert("L"), np.float64)
    blurred, plain = (np.abs(np.diff(half, axis=1)).mean() for half in (pixels[:, :16], pixels[:, 28:]))
    assert blurred < plain / 4, "the face, the left half, is blurred"
    for path in (
        f"hidden-board/pool/images/{uid}",
        f"small-board/pool/images/{place.uids[0]}",  # has no image
        f"small-board/pool/images/{'f' * 32}",
        "small-board/pool/images/..%2f..%2fboards",
        f"absent-board/pool/images/{uid}",
    ):
        assert place.site.http.get(f"/boards/{path}.webp").status_code == 404, path
    hidden = place.site.http.get("/boards/hidden-board/pool").text
    assert CAPTIONS[0] in hidden
    assert ".webp" not in hidden
    assert ".webp" in place.site.http.get("/boards/small-board/pool").text


def test_removed_samples_are_never_shown(place: Place) -> None:
    chosen = PreviewOut.model_validate(place.preview("words > 2").json()).kept.kept_uids
    with place.site.database.write() as session:
        Removals(session).remove("tiny", chosen, actor="olga", reason="asked for")
    try:
        again = PreviewOut.model_validate(place.preview("words > 2").json()).kept
        assert set(chosen).isdisjoint(again.kept_uids)
        pages = place.site.http.get("/boards/small-board/pool?expression=words+>+2").text
        assert not [uid for uid in chosen if uid in pages]
        for uid in chosen:
            assert place.site.http.get(f"/boards/small-board/pool/images/{uid}.webp").status_code == 404
        assert place.site.http.get("/api/boards/small-board/pool").json()["removed"] == len(chosen)
    finally:
        with place.site.database.write() as session:
            Removals(session).restore("tiny", chosen)


@pytest.mark.parametrize("content", [b"", b"GIF89a not shown", b"\x89PNG\r\n\x1a\n broken", b"<svg/>"])
def test_what_is_no_image_is_not_shown(content: bytes) -> None:
    with pytest.raises((OSError, ValueError, SyntaxError)):
        shown(content, [])


def test_the_fragment_and_its_charts(place: Place) -> None:
    http = place.site.http
    reply = http.get("/boards/small-board/preview?expression=words+>+2")
    assert reply.status_code == 200
    assert "<html" not in reply.text
    assert "Would keep" in reply.text
    wrong = http.get("/boards/small-board/preview?expression=words+>+2)")
    assert wrong.status_code == 422
    assert "column 10 of" in wrong.text
    chart = http.get("/boards/small-board/pool/charts/words.json?expression=words+>+2").json()
    assert {row["which"] for data in chart["datasets"].values() for row in data} == {"kept", "whole pool"}
    assert http.get("/boards/small-board/pool/charts/nothing.svg").status_code == 404


def test_receipts_of_older_workers_are_still_read(place: Place) -> None:
    old = {"stage": "subset", "samples": 5, "unique": 5, "unavailable": 0, "shards": 1, "subset_digest": "0" * 64}
    assert SubsetResult.model_validate(old).kept is None
    receipt = place.site.score("ada", uids(3))
    page = place.site.http.get(f"/submissions/{receipt.id}").text
    assert "What was kept" in page
    assert place.site.http.get(f"/submissions/{receipt.id}/charts/kept/language.svg").status_code == 200
    assert place.site.http.get(f"/submissions/{receipt.id}/charts/kept/side.svg").status_code == 404


def test_entries_side_by_side(place: Place) -> None:
    first, second = (place.site.score("ada", uids(seed)).id for seed in (4, 5))
    page = place.site.http.get(f"/compare?ids={first},{second}").text
    assert "What they kept of the pool" in page
    assert f"/submissions/{second}/charts/kept/words.svg" in page


def test_an_opened_pool_is_opened_again_when_it_changed(tmp_path: Path) -> None:
    put_pool(tmp_path, rows=12, shards=1)
    library = Library(tmp_path / "pools")
    first: Shelf = library.shelf("tiny", None)
    assert library.shelf("tiny", None) is first
    manifest = first.pool.directory / "pack" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"orphans": 0', '"orphans": 10'))
    assert library.shelf("tiny", None).digest != first.digest
