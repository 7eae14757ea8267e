"""What was kept, as pages show it: a chart and a table for every property, and pairs kept and dropped side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
    withheld: str = ""
    """Why no samples are named, in a sentence; empty where they are."""


@dataclass(frozen=True)
class LabelledChart:
    """One entry's chart of a property."""

    label: str
    address: str
    says: str


@dataclass(frozen=True)
class Together:
    """A property of what several entries kept."""

    table: BinTable
    charts: tuple[LabelledChart, ...]


def title_of(name: str) -> str:
    """What a property is called on pages."""
    return TITLES.get(name, name)


def shares_of(binned: Binned) -> Shares:
    """The chart of what was kept beside the whole pool."""
    return Shares(title_of(binned.name), tuple(binned.bins), tuple(binned.kept), tuple(binned.pool))


def bars_of(counted: Counted) -> Shares:
    """The chart of a whole pool."""
    return Shares(title_of(counted.name), tuple(counted.bins), tuple(counted.rows), (), ("whole pool", ""))


def figures(name: str, bins: Sequence[str], columns: Sequence[tuple[str, Sequence[int]]]) -> BinTable:
    """The same in figures: a column of counts and one of shares for each of the named `columns`."""
    totals = [sum(column) for _, column in columns]
    rows = []
    for place, label in enumerate(bins):
        counts = tuple(column[place] for _, column in columns)
        shares = tuple(count / total if total else None for count, total in zip(counts, totals, strict=True))
        rows.append(BinRow(label, counts, shares))
    heads = tuple(head for head, _ in columns)
    return BinTable(name, title_of(name), heads, tuple(rows), _says(title_of(name), heads, rows))


def _says(title: str, heads: tuple[str, ...], rows: Sequence[BinRow]) -> str:
    tops = []
    for place, head in enumerate(heads):
        known = [row for row in rows if row.shares[place] is not None]
        if known:
            top = max(known, key=lambda row: row.shares[place] or 0.0)
            tops.append(f"{head}, most at {top.label} ({top.shares[place]:.0%})")
    return f"Shares of rows by {title[0].lower() + title[1:]}: " + ("; ".join(tops) or "no rows")


def kept_view(kept: Kept, charts: str, query: str, pool: BoardPool | None, withheld: str = "") -> KeptView:
    """The context of `kept.html`; pairs are shown where this server has a copy of the `pool`."""
    beside = [(each, [("kept", each.kept), ("whole pool", each.pool)]) for each in kept.binned]
    return KeptView(
        kept=kept,
        tables=[figures(each.name, each.bins, columns) for each, columns in beside],
        charts=charts,
        query=query,
        kept_pairs=pairs_of(pool, kept.kept_uids),
        dropped_pairs=pairs_of(pool, kept.dropped_uids),
        withheld=withheld,
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
    return kept_of_results(run.result for run in receipt.runs if run.stage is Stage.SUBSET)


def kept_of_results(raw: Iterable[dict[str, Any] | None]) -> Kept | None:
    """The same of the stored results of the stage."""
    found = [result_of(each) for each in raw]
    last = next((result for result in reversed(found) if isinstance(result, SubsetResult)), None)
    return last.kept if last is not None else None


def together(sides: Sequence[tuple[str, str, Kept]]) -> list[Together]:
    """Of some submissions (id, method, what was kept): every property that all of them know of in the same bins."""
    found = []
    for first in sides[0][2].binned if sides else ():
        every = [next((each for each in kept.binned if each.name == first.name), None) for _, _, kept in sides]
        known = [each for each in every if each is not None and (each.bins, each.pool) == (first.bins, first.pool)]
        if len(known) < len(sides):
            continue
        columns: list[tuple[str, Sequence[int]]] = [("whole pool", first.pool)]
        charts = []
        for (submission, method, _), each in zip(sides, known, strict=True):
            columns.append((method, each.kept))
            own = figures(first.name, first.bins, [("kept", each.kept), ("whole pool", first.pool)])
            address = f"/submissions/{submission}/charts/kept/{first.name}"
            charts.append(LabelledChart(method, address, f"{method}. {own.says}"))
        found.append(Together(figures(first.name, first.bins, columns), tuple(charts)))
    return found


def summary(kept: Kept) -> str:
    """In a sentence."""
    share = kept.rows_kept / kept.rows_in if kept.rows_in else 0.0
    different = f", {number(kept.unique)} different" if kept.unique != kept.rows_kept else ""
    return f"{number(kept.rows_kept)} of {number(kept.rows_in)} rows ({share:.1%}){different}"
