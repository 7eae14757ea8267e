"""What was kept, as pages show it: a chart and a table for every property, and pairs kept and dropped side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datacomp.messages import Binned, Counted, Kept, Stage, SubmissionOut, SubsetResult
from datacomp_server.charts.kinds import Shares
from datacomp_server.pages.filters import number
from datacomp_server.pages.results import result_of
from datacomp_server.pools.pictures import Sample
from datacomp_server.pools.service import BoardPool

TITLES = {
    "language": "Language of the caption",
    "side": "Shorter side of the image, pixels",
    "words": "Words of the caption",
    "clip_b32_similarity_score": "CLIP B/32 similarity",
    "clip_l14_similarity_score": "CLIP L/14 similarity",
}
SHOWN = 6
"""Pairs of each kind on a page."""


@dataclass(frozen=True)
class BinRow:
    """One line of a table: rows of one bin, and their share of all."""

    label: str
    counts: tuple[int, ...]
    shares: tuple[float | None, ...]


@dataclass(frozen=True)
class BinTable:
    """A property's chart and table."""

    name: str
    title: str
    heads: tuple[str, ...]
    """Of the counts, and of the shares beside them."""
    rows: tuple[BinRow, ...]
    says: str
    """The chart in words."""


@dataclass(frozen=True)
class Pair:
    """A sample: its caption, and where its image is if it is shown."""

    uid: str
    caption: str
    image: str | None


@dataclass(frozen=True, kw_only=True)
class KeptView:
    """What `kept.html` shows of a selection."""

    kept: Kept
    tables: list[BinTable]
    charts: str
    """Address of the charts, which the name of a table completes."""
    query: str
    kept_pairs: list[Pair]
    dropped_pairs: list[Pair]


def title_of(name: str) -> str:
    """What a property is called on pages."""
    return TITLES.get(name, name)


def shares_of(binned: Binned) -> Shares:
    """The chart of what was kept beside the whole pool."""
    return Shares(title_of(binned.name), tuple(binned.bins), tuple(binned.kept), tuple(binned.pool))


def bars_of(counted: Counted) -> Shares:
    """The chart of a whole pool."""
    return Shares(title_of(counted.name), tuple(counted.bins), tuple(counted.rows), (), ("whole pool", ""))


def table_of(name: str, bins: Sequence[str], columns: dict[str, Sequence[int]]) -> BinTable:
    """The same in figures: a column of counts and one of shares for each entry of `columns`."""
    totals = [sum(column) for column in columns.values()]
    rows = []
    for place, label in enumerate(bins):
        counts = tuple(column[place] for column in columns.values())
        shares = tuple(count / total if total else None for count, total in zip(counts, totals, strict=True))
        rows.append(BinRow(label, counts, shares))
    heads = tuple(columns)
    return BinTable(name, title_of(name), heads, tuple(rows), _says(title_of(name), heads, rows))


def _says(title: str, heads: tuple[str, ...], rows: Sequence[BinRow]) -> str:
    tops = []
    for place, head in enumerate(heads):
        known = [row for row in rows if row.shares[place] is not None]
        if known:
            top = max(known, key=lambda row: row.shares[place] or 0.0)
            tops.append(f"{head}, most at {top.label} ({top.shares[place]:.0%})")
    return f"Shares of rows by {title[0].lower() + title[1:]}: " + ("; ".join(tops) or "no rows")


def kept_view(kept: Kept, charts: str, query: str, pool: BoardPool | None) -> KeptView:
    """The context of `kept.html`; pairs are shown where this server has a copy of the `pool`."""
    return KeptView(
        kept=kept,
        tables=[table_of(each.name, each.bins, {"kept": each.kept, "whole pool": each.pool}) for each in kept.binned],
        charts=charts,
        query=query,
        kept_pairs=pairs_of(pool, kept.kept_uids),
        dropped_pairs=pairs_of(pool, kept.dropped_uids),
    )


def pairs_of(pool: BoardPool | None, uids: Sequence[str], most: int = SHOWN) -> list[Pair]:
    """Some of these samples, as far as they are here and may be shown."""
    return [pair_of(pool, sample) for sample in pool.samples(uids)[:most]] if pool is not None and uids else []


def pair_of(pool: BoardPool, sample: Sample) -> Pair:
    """A sample with the address of its image where the board shows images."""
    shown = sample.has_image and pool.board.show_images
    image = f"/boards/{pool.board.name}/pool/images/{sample.uid}.webp" if shown else None
    return Pair(sample.uid, sample.caption, image)


def kept_of_receipt(receipt: SubmissionOut) -> Kept | None:
    """What the newest finished stage `subset` says it kept; None where there is none, or an older worker did it."""
    found = [result_of(run.result) for run in receipt.runs if run.stage is Stage.SUBSET]
    last = next((result for result in reversed(found) if isinstance(result, SubsetResult)), None)
    return last.kept if last is not None else None


def summary(kept: Kept) -> str:
    """In a sentence."""
    share = kept.rows_kept / kept.rows_in if kept.rows_in else 0.0
    different = f", {number(kept.unique)} different" if kept.unique != kept.rows_kept else ""
    return f"{number(kept.rows_kept)} of {number(kept.rows_in)} rows ({share:.1%}){different}"
