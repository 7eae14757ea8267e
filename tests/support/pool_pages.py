"""The pages of a pool in every state: with and without a copy here, an expression that works and one that does not."""

from dataclasses import replace

from page_examples import DIGEST, HOSTILE, PROBLEMS, board, site
from pool_here import KEPT

from datacomp.messages import ClustersOut, Counted, PoolOut
from datacomp_server.pages.contexts import Page
from datacomp_server.pages.kept import Pair, figures, kept_view
from datacomp_server.pages.pool import PoolPage, PreviewPage

PAIRS = [Pair("0" * 32, HOSTILE, None), Pair("1" * 32, "", f"/boards/filtering-tiny/pool/images/{'1' * 32}.webp")]
COUNTED = [Counted(name=each.name, bins=each.bins, rows=each.pool) for each in KEPT.binned]
WHOLE = PoolOut(
    name="tiny", digest=DIGEST, rows=60, here=True, with_image=58, removed=1, columns=["words", "lang"],
    counted=COUNTED, clusters=ClustersOut(clusters=8, smallest=2, median=7, largest=15), same_image=0, same_caption=52,
    near_evaluation=3, near_threshold=0.95,
)  # fmt: skip


def pool_page(pool: PoolOut = WHOLE, *, expression: str = "", preview: PreviewPage | None = None) -> PoolPage:
    return PoolPage(
        site=site("/boards/filtering-tiny/pool"), board=board(show_images=True), boards=[board(), board("medium")],
        pool=pool, pairs=PAIRS if pool.here else [], expression=expression, preview=preview,
        tables=[figures(each.name, each.bins, [("whole pool", each.rows)]) for each in pool.counted],
        examples=[("words >= 3", "/boards/filtering-tiny/pool?expression=words+%3E%3D+3#try")],
    )  # fmt: skip


def pool_pages() -> dict[str, Page]:
    """By name."""
    view = kept_view(KEPT, "/boards/filtering-tiny/pool/charts/", "expression=words", None)
    view = replace(view, kept_pairs=PAIRS, dropped_pairs=PAIRS[:1])
    place = site("/boards/filtering-tiny/preview")
    found = PreviewPage(site=place, expression="words > 0", kept=view, summary="20 of 60", seconds=0.1)
    wrong = PreviewPage(site=place, expression=HOSTILE, problems=PROBLEMS, status=422)
    absent = PoolOut(name="tiny", digest=DIGEST, rows=60, here=False, why="this server holds no copy of the pool")
    return {
        "pool": pool_page(),
        "pool-tried": pool_page(expression="words > 0", preview=found),
        "pool-refused": pool_page(expression=HOSTILE, preview=wrong),
        "pool-absent": pool_page(absent),
    }
