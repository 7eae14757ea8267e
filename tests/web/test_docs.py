"""The documentation as pages, without a browser: every document, its links, and what it says of the code."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from page_examples import site
from page_reading import Reader, read
from typer.main import get_command

from datacomp.cli import build
from datacomp.filtering.functions import function_names
from datacomp.scales import SCALES
from datacomp_server.errors import NotFound
from datacomp_server.pages.docs import CHAPTERS, DocPage, chapters, doc
from datacomp_server.pages.docs import read as read_document
from datacomp_server.pages.markdown import to_html
from datacomp_server.pages.rendering import render
from datacomp_server.resources import docs_dir, web_dir

NAMES = [name for documents in CHAPTERS.values() for name in documents]
ELSEWHERE = {"start"}
"""Pages under /docs that are no documents."""


def page_of(name: str) -> Reader:
    title, body, contents = read_document(name)
    place = site(f"/docs/{name}")
    page = DocPage(site=place, name=name, title=title, body=body, contents=contents, chapters=chapters())
    return read(render(page))


PAGES = {name: page_of(name) for name in NAMES}


def test_every_document_is_a_page() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in docs_dir().glob("*.md"))
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_a_document_is_well_formed(name: str) -> None:
    page = PAGES[name]
    assert page.wrong == []
    assert len(page.all("h1")) == 1
    identifiers = [element["id"] for element in page.elements if element["id"]]
    assert len(identifiers) == len(set(identifiers)), identifiers
    assert all(element["id"] for element in page.all("h2", "h3") if "article" in element.inside)
    for element in page.elements:
        assert not element["style"], element
        assert element.name not in {"script", "img"}, element
    for cell in page.all("th"):
        assert cell["scope"] == "col", cell
    assert "](" not in page.all("article")[0].text, "a link that did not become one"


@pytest.mark.parametrize("name", NAMES)
def test_links_between_documents_hold(name: str) -> None:
    for link in PAGES[name].all("a"):
        address, _, place = link["href"].partition("#")
        if not address.startswith("/docs/"):
            assert address == "" or address.startswith(("/", "https://")), link["href"]
            continue
        target = address.removeprefix("/docs/")
        assert target in PAGES or target in ELSEWHERE, link["href"]
        if place:
            assert place in {element["id"] for element in PAGES[target].elements}, link["href"]


def test_markdown_fits_the_site() -> None:
    title, body, headings = to_html(
        "# One & <two>\n\n## Part\n\n## Part\n\n<script>alert(1)</script> [a](formats.md#x) [b](https://example.org)\n\n"
        "[c](javascript:alert(1))\n\n| n |\n|--:|\n| 1 |\n\n```sh\na < b\n```\n"
    )
    assert title == "One & <two>"
    assert [(heading.id, heading.level) for heading in headings] == [("part", 2), ("part-1", 2)]
    page = read(str(body))
    assert "<script" not in body
    assert "javascript:" not in [link["href"][:11] for link in page.all("a")]
    assert [link["href"] for link in page.all("a")] == ["/docs/formats#x", "https://example.org"]
    assert [cell["class"] for cell in page.all("th", "td")] == ["n", "n"]
    assert [each.text for each in page.all("pre")] == ["a < b"]
    assert not page.wrong


def test_the_recipe_is_the_scales() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.+)\|$", (docs_dir() / "recipe.md").read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == list(SCALES)
    for name, cells in rows:
        scale, said = SCALES[name], [cell.strip() for cell in cells.split("|")]
        figures = (scale.pool_size, scale.samples_seen, scale.model, scale.batch_size, scale.learning_rate)
        told = [*figures, scale.warmup, "default" if scale.beta2 is None else scale.beta2, scale.precision]
        assert said == [f"{figure:,}" if isinstance(figure, int) else str(figure) for figure in told]


def test_every_function_of_expressions_is_described() -> None:
    said = (docs_dir() / "write-a-filter.md").read_text()
    assert set(re.findall(r"^\| `(\w+)\(", said, re.MULTILINE)) == set(function_names())


def test_an_unknown_document_is_refused() -> None:
    with pytest.raises(NotFound):
        doc("../README", None, None)  # type: ignore[arg-type]


COMMANDS: Any = get_command(build())


def commands_in(text: str) -> Iterator[str]:
    """The command lines that a document gives, in blocks and in sentences."""
    for block in re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL):
        yield from re.findall(r"^datacomp .*$", block.replace("\\\n", " "), re.MULTILINE)
    yield from re.findall(r"`(datacomp [^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def test_every_command_that_is_named_exists() -> None:
    files = [*docs_dir().glob("*.md"), docs_dir().parent / "README.md"]
    start = re.sub(r"<[^>]+>", "\n", (web_dir() / "templates" / "start.html").read_text())
    said = {line for file in files for line in commands_in(file.read_text())}
    said |= {line for line in start.splitlines() if line.startswith("datacomp ")}
    assert len(said) > 60
    assert [problem for line in sorted(said) if (problem := unknown_in(line))] == []


def unknown_in(line: str) -> str:
    """What the command line does not know of it. What follows the name of a filter is the filter's own."""
    words = [word.strip("[]") for word in shlex.split(line.replace("|", "/"), comments=True)[1:]]
    command = COMMANDS
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command = command.commands.get(words.pop(0))
        if command is None:
            return f"no such command: {line}"
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    own = command.name == "filter" and words and words[0].isidentifier() and words[0].islower()
    wrong = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"{wrong}: {line}" if wrong and not own else ""
