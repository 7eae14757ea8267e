"""`/boards/{name}/pool`: what a board's pool contains, and an expression box that shows what would be kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from datacomp.filtering.expression import LONGEST, parse
from datacomp.filtering.parameters import plain_names
from datacomp.messages import BoardOut, PoolOut
from datacomp.problems import DatacompError, Problem
from datacomp_server.accounts.service import Viewer
from datacomp_server.boards.service import BoardService
from datacomp_server.dependencies import DatabaseDep
from datacomp_server.errors import status_of
from datacomp_server.pages.contexts import Page
from datacomp_server.pages.kept import BinTable, KeptView, Pair, figures, kept_view, pairs_of, summary
from datacomp_server.pages.web import PageViewer, answer, site_for
from datacomp_server.pools.endpoints import BoardPoolDep
from datacomp_server.pools.service import BoardPool

router = APIRouter(include_in_schema=False)
PAIRS = 12
EXAMPLES = (
    "top_fraction(clip_l14_similarity_score, 0.3)",
    "lang == 'en' and words >= 3 and clip_b32_similarity_score >= 0.28",
    "original_width / original_height <= 3 and original_height / original_width <= 3",
)
"""To begin with; those whose columns a pool lacks are not offered."""
IMAGE_SECONDS = 300

Expression = Annotated[str, Query(max_length=LONGEST)]


@dataclass(frozen=True, kw_only=True)
class PreviewPage(Page):
    """`pool_preview.html`: what an expression would keep, or what is wrong with it."""

    template: ClassVar[str] = "pool_preview.html"
    expression: str
    kept: KeptView | None = None
    summary: str = ""
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)
    status: int = 200


@dataclass(frozen=True, kw_only=True)
class PoolPage(Page):
    """`pool.html`: the pool in figures, example pairs, and the expression box."""

    template: ClassVar[str] = "pool.html"
    board: BoardOut
    boards: list[BoardOut]
    pool: PoolOut
    tables: list[BinTable]
    pairs: list[Pair]
    examples: list[tuple[str, str]]
    """Expressions to try, and the addresses that do."""
    expression: str
    preview: PreviewPage | None


@router.get("/boards/{name}/pool")
def pool_page(
    request: Request, viewer: PageViewer, pool: BoardPoolDep, database: DatabaseDep, expression: Expression = ""
) -> Response:
    """The pool; with an expression, also what that would keep."""
    tried = _preview(request, viewer, pool, expression) if expression.strip() else None
    with database.read() as session:
        boards = BoardService(session).list_boards()
    known = pool.describe()
    page = PoolPage(
        site=site_for(request, viewer),
        board=pool.board,
        boards=boards,
        pool=known,
        tables=[figures(each.name, each.bins, [("whole pool", each.rows)]) for each in known.counted],
        pairs=pairs_of(pool, pool.drawn(), PAIRS),
        examples=_examples(pool.board.name, known),
        expression=expression,
        preview=tried,
    )
    return answer(request, page, tried.status if tried is not None else 200)


@router.get("/boards/{name}/preview")
def preview_fragment(request: Request, viewer: PageViewer, pool: BoardPoolDep, expression: Expression = "") -> Response:
    """The result of an expression alone, to be put into a page. What is wrong is said in it, with the status of the
    refusal."""
    tried = _preview(request, viewer, pool, expression)
    return answer(request, tried, tried.status)


@router.get("/boards/{name}/pool/images/{uid}.webp")
def pool_image(uid: str, pool: BoardPoolDep) -> Response:
    """A sample's image, if the board shows images: faces blurred, never of a removed uid."""
    headers = {"Cache-Control": f"private, max-age={IMAGE_SECONDS}"}
    return Response(pool.picture(uid), media_type="image/webp", headers=headers)


def _preview(request: Request, viewer: Viewer | None, pool: BoardPool, expression: str) -> PreviewPage:
    site = site_for(request, viewer)
    try:
        found = pool.preview(expression.strip())
    except DatacompError as error:
        problems, status = list(error.problems), status_of(error)
        return PreviewPage(site=site, expression=expression, problems=problems, status=status)
    charts, query = f"/boards/{pool.board.name}/pool/charts/", urlencode({"expression": found.expression})
    return PreviewPage(
        site=site,
        expression=found.expression,
        kept=kept_view(found.kept, charts, query, pool),
        summary=summary(found.kept),
        seconds=found.seconds,
    )


def _examples(board: str, pool: PoolOut) -> list[tuple[str, str]]:
    fitting = [text for text in EXAMPLES if all(name.name in pool.columns for name in plain_names(parse(text)))]
    return [(text, f"/boards/{board}/pool?{urlencode({'expression': text})}#try") for text in fitting]
