"""The documentation as pages: the repository's `docs/*.md`, with an index, and how to get started."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response

from datacomp.messages import BoardOut
from datacomp_server.dependencies import BoardServiceDep
from datacomp_server.errors import NotFound
from datacomp_server.pages.contexts import Page
from datacomp_server.pages.markdown import Heading, to_html
from datacomp_server.pages.web import PageViewer, answer, site_for
from datacomp_server.resources import docs_dir

router = APIRouter(prefix="/docs", include_in_schema=False)

FILTER_EXAMPLE = '''\
"""Keeps the 30% of pairs whose image and caption agree best."""

from datacomp.filtering import Filter


class BestAgreement(Filter):
    columns = ("clip_l14_similarity_score",)
    rule = "top_fraction(score, 0.3)"

    def score(self, batch):
        return batch["clip_l14_similarity_score"]
'''
CHAPTERS: dict[str, dict[str, str]] = {
    "Taking part": {
        "write-a-filter": "Expressions, Python files and sample ids: the three forms of a method.",
        "byod": "The track in which the data is yours, and downloading a pool.",
        "accounts": "Signing in, tokens, teams, quotas, webhooks.",
        "formats": "Subset files, the upload protocol, manifests: for those who write tools.",
    },
    "What is held constant": {
        "recipe": "Model, batch, learning rate and samples seen of every scale.",
        "training": "Where and how the recipe runs, and what is watched.",
        "suite": "The evaluation tasks, and how records become scores.",
    },
    "What a result is worth": {
        "statistics": "Intervals, ranges of ranks, noise of seeds.",
        "scaling": "What a small scale tells of a large one.",
        "reproduce": "Doing a result again from its manifest.",
        "measurements": "What this platform was measured at, beside its peers.",
    },
    "Running a platform": {
        "run-your-own": "One machine or many: settings, boards, backups.",
        "sandbox": "What keeps participants' code contained, and what a host needs for it.",
        "decisions": "Why things are as they are.",
    },
}
"""The documents by chapter, each with a line about it."""


@dataclass(frozen=True)
class DocLink:
    """One document in a list."""

    name: str
    title: str
    about: str


@dataclass(frozen=True)
class Chapter:
    """Documents under one heading."""

    label: str
    documents: list[DocLink]


@dataclass(frozen=True, kw_only=True)
class DocsPage(Page):
    """`docs.html`: the index."""

    template: ClassVar[str] = "docs.html"
    chapters: list[Chapter]


@dataclass(frozen=True, kw_only=True)
class StartPage(Page):
    """`start.html`: get started."""

    template: ClassVar[str] = "start.html"
    boards: list[BoardOut]
    filter_template: str
    """Source of a small filter that runs as it stands."""


@dataclass(frozen=True, kw_only=True)
class DocPage(Page):
    """`doc.html`: one document."""

    template: ClassVar[str] = "doc.html"
    name: str
    title: str
    body: Markup
    contents: list[Heading]
    chapters: list[Chapter]


@router.get("")
def docs(request: Request, viewer: PageViewer) -> Response:
    """All documents."""
    return answer(request, DocsPage(site=site_for(request, viewer), chapters=chapters()))


@router.get("/start")
def start(request: Request, viewer: PageViewer, boards: BoardServiceDep) -> Response:
    """Get started."""
    page = StartPage(site=site_for(request, viewer), boards=boards.list_boards(), filter_template=FILTER_EXAMPLE)
    return answer(request, page)


@router.get("/{document}")
def doc(document: str, request: Request, viewer: PageViewer) -> Response:
    """One document."""
    if all(document not in documents for documents in CHAPTERS.values()):
        raise NotFound.of("document-unknown", "there is no such page of the docs", where=document, hint="see /docs")
    title, body, contents = read(document)
    page = DocPage(
        site=site_for(request, viewer), name=document, title=title, body=body, contents=contents, chapters=chapters()
    )
    return answer(request, page)


@cache
def read(name: str) -> tuple[str, Markup, list[Heading]]:
    """Title, text and headings of a document."""
    return to_html((docs_dir() / f"{name}.md").read_text("utf-8"))


@cache
def chapters() -> list[Chapter]:
    """All documents, with their titles."""
    return [
        Chapter(label, [DocLink(name, read(name)[0], about) for name, about in documents.items()])
        for label, documents in CHAPTERS.items()
    ]
