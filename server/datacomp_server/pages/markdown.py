"""Markdown of our own documents as HTML that fits the site: no HTML from outside, no inline styles, links that lead to
pages, headings with ids, tables that scroll."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

DOCUMENT = re.compile(r"(?:docs/)?([\w-]+)\.md(#[\w-]+)?")
NOT_IN_IDS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Heading:
    """A heading that can be linked to."""

    id: str
    text: str
    level: int


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def to_html(text: str) -> tuple[str, Markup, list[Heading]]:
    """The title (of the first heading, which the text then lacks), the HTML, and the headings below it."""
    tokens = _parser().parse(text)
    headings = list(_headings(tokens))
    title = headings[0].text if headings else ""
    if headings and headings[0].level == 1:
        tokens, headings = tokens[3:], headings[1:]
    for token in _all(tokens):
        _fit(token)
    body: str = _parser().renderer.render(list(_framed(tokens)), _parser().options, {})
    return title, Markup(body), headings  # noqa: S704 - of our own documents, HTML in them escaped


def slug(text: str) -> str:
    """A heading's id, as code hosts make it, so that links between documents hold there and here."""
    return NOT_IN_IDS.sub("", text.lower()).replace(" ", "-")


def _headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    """All headings, each token given its id."""
    seen: dict[str, int] = {}
    for token, inside in pairwise(tokens):
        if token.type != "heading_open":
            continue
        text = "".join(child.content for child in inside.children or [] if child.type in {"text", "code_inline"})
        name = slug(text)
        times = seen[name] = seen.get(name, -1) + 1
        token.attrSet("id", f"{name}-{times}" if times else name)
        yield Heading(str(token.attrGet("id")), text, int(token.tag[1]))


def _all(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from token.children or []


def _fit(token: Token) -> None:
    """Put one token into the site's terms."""
    if token.type == "link_open":
        address = str(token.attrGet("href"))
        document = DOCUMENT.fullmatch(address)
        if document is not None:
            token.attrSet("href", f"/docs/{document[1]}{document[2] or ''}")
        elif "://" in address:
            token.attrSet("rel", "nofollow noopener noreferrer")
    elif token.type in {"th_open", "td_open"}:
        aligned = token.attrs.pop("style", "")
        if aligned == "text-align:right":
            token.attrSet("class", "n")
        if token.type == "th_open":
            token.attrSet("scope", "col")


def _framed(tokens: Sequence[Token]) -> Iterator[Token]:
    """Tables inside a region that scrolls sideways, and code that the keyboard reaches."""
    count = 0
    for token in tokens:
        if token.type == "table_open":
            count += 1
            yield _html(f'<div class="scroll" role="region" aria-label="Table {count}" tabindex="0">\n')
        if token.type in {"fence", "code_block"}:
            yield _html(f'<pre class="commands" tabindex="0">{Markup.escape(token.content.rstrip())}</pre>\n')
            continue
        yield token
        if token.type == "table_close":
            yield _html("</div>\n")


def _html(text: str) -> Token:
    return Token("html_block", "", 0, content=text)
