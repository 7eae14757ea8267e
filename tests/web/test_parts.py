"""What pages are made of: how values are written, how a table is ordered, which addresses are trusted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from page_examples import board, row, table
from small_pool import SmallPool

from datacomp.filtering import score_pool, select
from datacomp.filtering.load import load_filter
from datacomp.pool import ingest
from datacomp_server.leaderboard.export import csv_blocks, parquet_bytes
from datacomp_server.pages import filters
from datacomp_server.pages.contexts import SubmitValues
from datacomp_server.pages.docs import FILTER_EXAMPLE
from datacomp_server.pages.formfields import MESSAGES, field_problems
from datacomp_server.pages.formfile import Upload, safe_name
from datacomp_server.pages.receipts import leaves
from datacomp_server.pages.security import form_token, local_path, same
from datacomp_server.pages.table import View, build


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (filters.number(12_800_000), "12\u202f800\u202f000"),
        (filters.number(None), "–"),
        (filters.score(0.0), "0.000"),
        (filters.score(None), "–"),
        (filters.delta(0.0004), "±0.000"),
        (filters.delta(-0.05), "\u22120.050"),
        (filters.delta(0.05), "+0.050"),
        (filters.figure(1.23456), "1.235"),
        (filters.size(1023), "1023 bytes"),
        (filters.size(5 << 40), "5120.0 GiB"),
        (filters.duration(timedelta(seconds=9.96)), "10 s"),
        (filters.duration(3599.6), "1 h 00 min"),
        (filters.duration(-5), "0.0 s"),
        (filters.scientific(9.5e17), "9.5 × 10¹⁷"),
        (filters.moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)), "2 Jan 2026, 03:04:05 UTC"),
        (filters.coded("use `a <b>` & c"), "use <code>a &lt;b&gt;</code> &amp; c"),
        (filters.coded("one ` alone <i>"), "one ` alone &lt;i&gt;"),
    ],
)
def test_values_are_written_so(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "java\nscript:alert(1)",
        " https://a.b",
        "//a.b",
        "https://",
        "https://u:p@a.b",
        "https://[",
        "a.b",
    ],
)
def test_untrusted_links_stay_text(link: str) -> None:
    assert filters.safe_link(link) is None


def test_trusted_links() -> None:
    assert filters.safe_link("https://example.org/a?b=c#d") == "https://example.org/a?b=c#d"


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "/a\nb", "/a\\b", "", "a"]
)
def test_nobody_is_sent_elsewhere(path: str) -> None:
    assert local_path(path, "/account") == "/account"


def test_local_paths_are_kept() -> None:
    assert local_path("/submit?board=a") == "/submit?board=a"


def test_form_tokens_belong_to_a_cookie_and_a_server() -> None:
    tokens = {form_token(key, cookie) for key in ("a", "b") for cookie in ("c", "d")}
    assert len(tokens) == 4
    assert same("ä", "ä")
    assert not same("\udcff", "x")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("uids.npy", "uids.npy"),
        ("C:\\Users\\me\\my uids.npy", "my_uids.npy"),
        ("../../etc/passwd", "passwd"),
        ("...", "upload"),
        ("-rf.npy", "rf.npy"),
        ('a"\r\nb: c.py', "a_b_c.py"),
        ("é" * 300 + ".npy", "_.npy"),
        ("x" * 300 + ".npy", "x" * 96 + ".npy"),
    ],
)
def test_file_names_are_made_safe(sent: str, kept: str) -> None:
    assert safe_name(sent) == kept


def test_every_field_of_the_form_can_be_wrong() -> None:
    values = SubmitValues(board="no", kind="no", method="", description="x" * 4001, link="no")
    found = field_problems(values, None, [board()])
    assert [problem.where for problem in found] == list(MESSAGES)


def test_a_closed_board_is_no_board() -> None:
    values = SubmitValues(board="filtering-tiny", kind="uids", method="a")
    upload = Upload(Path("uids.npy"), digest="0" * 64, size=1)
    assert field_problems(values, upload, [board()]) == []
    assert [problem.where for problem in field_problems(values, upload, [])] == ["board"]


def test_manifest_leaves() -> None:
    body = {"a": {"b": [1, {"c": None}], "d": {}}, "e": True, "f": "x", "g": []}
    assert list(leaves(body)) == [
        ("a.b[0]", "1"),
        ("a.b[1].c", "null"),
        ("a.d", "{}"),
        ("e", "true"),
        ("f", "x"),
        ("g", "[]"),
    ]


def test_the_address_is_the_view() -> None:
    view = View.of("/b", {"sort": "average", "order": "asc", "tasks": "all", "unfinished": "1", "page": "3"})
    assert view == View("/b", "average", False, True, True, 3)
    assert View.of("/b", {}).address == "/b"
    assert view.address == "/b?sort=average&order=asc&tasks=all&unfinished=1&page=3"
    assert view.sorted_by("average") == "/b?sort=average&tasks=all&unfinished=1"
    assert view.sorted_by("rank") == "/b?tasks=all&unfinished=1"
    for page in ("0", "-1", "x", "²", "9" * 20):
        assert View.of("/b", {"page": page}).page == 1
    assert View.of("/b", {"sort": 'task:"><script>'}).address == "/b?sort=task%3A%22%3E%3Cscript%3E"


def test_pages_of_a_long_table() -> None:
    rows = [row(n, f"m{n}", 0.9 - n / 1000) for n in range(201, 204)]
    last = build(table(rows, total=203, offset=200), View("/b", page=99), {})
    assert (last.view.page, last.pages, [line.row.rank for line in last.lines]) == (3, 3, [201, 202, 203])


def test_a_group_of_the_headline_task_alone_has_no_second_column() -> None:
    rows = [row(1, "a", 0.5, groups={"main": 0.71, "shift": 0.4}, main=0.71), row(2, "b", 0.4, groups={"shift": 0.3})]
    assert [column.label for column in build(table(rows), View("/b"), {}).groups] == ["Dist. shifts"]


def test_the_filter_shown_in_the_docs_runs(tmp_path: Path) -> None:
    SmallPool().write(tmp_path / "pool")
    pool = ingest(tmp_path / "pool", processes=1)
    (tmp_path / "my_filter.py").write_text(FILTER_EXAMPLE)
    shown = load_filter(str(tmp_path / "my_filter.py"), {})
    kept = select(pool, score_pool(shown, pool).values, shown.rule).kept
    assert 0.25 < kept / pool.rows < 0.4


def test_csv_is_no_formula() -> None:
    entries = table([row(1, "=HYPERLINK(1)", 0.5, participant="@x", groups={"shift": 0.25})])
    head, line = b"".join(csv_blocks([entries, table([])], ["shift"])).decode().splitlines()
    assert f"group:shift,{','.join(entries.tasks)}" in head
    assert line.startswith("1,'=HYPERLINK(1),'@x")


def test_parquet_has_types() -> None:
    entries = table([row(1, "a", 0.5), row(None, "b", None, groups={}, tasks={})])
    found = pq.read_table(pa.BufferReader(parquet_bytes([entries, table([])], ["shift"], entries.tasks)))
    assert found.num_rows == 2
    assert found.schema.field("average").type == pa.float64()
    assert found.schema.field("date").type == pa.timestamp("us", tz="UTC")
    assert found.column("group:shift").to_pylist() == [pytest.approx(0.45), None]
