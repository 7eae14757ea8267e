"""The leaderboard in a terminal: ranges and intervals, not places alone."""

from typing import Any

import pytest
from rich.console import Console

from datacomp.cli import display
from datacomp.messages import LeaderboardOut, LeaderboardRow


def row(method: str, **known: Any) -> LeaderboardRow:
    unknown = dict.fromkeys(("rank", "submission", "url", "subset_size", "score", "main", "kind"))
    fields = {"method": method, "participant": "ada", "groups": {}, "tasks": {}, "status": "scored"}
    return LeaderboardRow(**(unknown | fields | known))


def written(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    out = Console(width=width, record=True, quiet=True)
    monkeypatch.setattr(display, "console", out)
    ranked = {"rank": 1, "subset_size": 4853, "score": 0.3, "main": 0.2, "groups": {"vtab": 0.41}}
    bounds = {"rank_lo": 1, "rank_hi": 2, "score_lo": 0.287, "score_hi": 0.314, "delta_to_baseline": -0.004}
    board = LeaderboardOut(
        board="b", title="Small board", scale="tiny", suite="s@1", suite_digest="0" * 64, rank_by="average",
        tasks=[], total=9, offset=0, ranks_pending=True, generated_at="2026-11-24T12:00:00Z",
        rows=[row("placed", **ranked, **bounds), row("not yet", **ranked), row("never")],
        under_way_total=1, under_way=[row("still", status="training")],
    )  # fmt: skip
    with out.capture() as said:
        out.quiet = False
        out.print(display.leaderboard_table(board))
    return said.get().splitlines()


def test_a_leaderboard_tells_ranges_intervals_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {line.split("│")[2].strip(): line for line in written(monkeypatch, 80) if line.startswith("│")}
    assert [cell.strip() for cell in lines["placed"].split("│")[1:8]] == [
        *("1-2", "placed", "ada", "4,853", "0.300", "0.287-0.314", "scored"),
    ]
    assert [lines[name].split("│")[1].strip() for name in ("not yet", "never", "still")] == ["...", "-", "-"]
    assert "training" in lines["still"]


def test_columns_come_with_the_room_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for width, to_baseline, groups in ((80, False, False), (112, True, False), (130, True, True)):
        text = "\n".join(written(monkeypatch, width))
        assert ("-0.004" in text, "vtab" in text) == (to_baseline, groups), width
        assert "3 of 9 entries; ranks follow" in text
