"""Every page in every state, from the messages of `page_examples`."""

from typing import Any

from compare_pages import compare_pages
from organise_pages import organise_pages
from page_examples import (
    DIGEST,
    HOSTILE,
    IN_FILE,
    NOW,
    PROBLEMS,
    SUITE,
    TASKS,
    board,
    queue,
    receipts,
    row,
    scored,
    site,
    table,
)
from people_pages import PROVIDERS, QUOTAS, people_pages
from pool_pages import pool_pages
from trends_pages import trends_pages

from datacomp.messages import BoardOut, DedupMode, DedupSetting, Track
from datacomp.problems import Problem
from datacomp_server.pages.contexts import (
    AccountPage,
    BoardsPage,
    ErrorPage,
    ExpressionFault,
    Front,
    HomePage,
    LeaderboardPage,
    ManifestPage,
    Page,
    QueuePage,
    RulesPage,
    SignInPage,
    SubmissionLine,
    SubmitPage,
    SubmitValues,
    TokenLine,
)
from datacomp_server.pages.docs import FILTER_EXAMPLE, DocPage, DocsPage, StartPage, chapters
from datacomp_server.pages.docs import read as read_document
from datacomp_server.pages.public import recipe_of, task_groups
from datacomp_server.pages.receipt import build_receipt
from datacomp_server.pages.reference import ReferencePage, schemas, sections
from datacomp_server.pages.table import View, build
from datacomp_server.runs.schemas import QueueOut


def fronts(boards: list[BoardOut]) -> dict[str, Front]:
    """One board that somebody leads, and others without entries."""
    led = Front(6, 1, row(1, HOSTILE, 0.461))
    return {each.name: led if place == 0 else Front(0, 0, None) for place, each in enumerate(boards)}


def receipt_pages() -> dict[str, Page]:
    """The receipts as their owner sees them."""
    place = site("/submissions/a1b2c3d4e5f60718")
    pages: dict[str, Page] = {
        f"receipt-{name}": build_receipt(place, example, may_change=True, is_own=True)
        for name, example in receipts().items()
    }
    pages["receipt-refused"] = build_receipt(place, scored(), may_change=True, problems=IN_FILE)
    pages["manifest"] = ManifestPage(
        site=place,
        receipt=scored(),
        digest=DIGEST,
        entries=[("subset.digest", DIGEST), ("seeds[0]", "0"), ("environment.torch", "2.9.0"), ("note", HOSTILE)],
    )
    return pages


def board_pages() -> dict[str, Page]:
    """Boards, rules and leaderboards: full, empty, with all tasks, with hostile rows."""
    private = {"private_tasks": ["tiny/digits"], "revealed": False, "reveals_at": NOW, "closes_at": NOW}
    boards = [board(**private), board("medium", dedup=DedupSetting(mode=DedupMode.APPLY), closed=True, open=False)]
    path = "/boards/filtering-tiny"
    names = {key: name for key, (name, _) in TASKS.items()}
    tables = {
        "leaderboard": (table(), View(path)),
        "leaderboard-tasks": (
            table(),
            View(path, sort="task:tiny/digits", descending=True, all_tasks=True, unfinished=True),
        ),
        "leaderboard-empty": (table([]), View(path)),
        "leaderboard-hostile": (table([row(1, HOSTILE, 0.4, participant=HOSTILE, source=HOSTILE)]), View(path)),
        "leaderboard-long": (
            table([row(n, f"method {n}", 0.5 - n / 1000) for n in range(101, 201)], total=301, offset=100),
            View(path, page=2),
        ),
    }
    papers = [
        row(None, method, 0.3, participant="", submission=None, status="published", source=source)
        for method, source in (("Image-based", "DataComp arXiv:2304.14108 Table 3"), (HOSTILE, HOSTILE))
    ]
    pages: dict[str, Page] = {
        name: LeaderboardPage(
            site=site(path), board=boards[0], boards=boards, table=build(rows, view, names),
            published=papers if name in {"leaderboard-empty", "leaderboard-hostile"} else [],
        )
        for name, (rows, view) in tables.items()
    }  # fmt: skip
    for name, listed in (("", boards), ("-empty", [])):
        pages |= {
            f"home{name}": HomePage(site=site("/"), boards=listed, standings=fronts(listed)),
            f"boards{name}": BoardsPage(site=site("/boards"), boards=listed),
            f"start{name}": StartPage(site=site("/docs/start"), boards=listed, filter_template=FILTER_EXAMPLE),
        }
    for name, shown, groups in (("", boards[1], task_groups(SUITE)), ("-no-suite", board(dedup=DedupSetting()), [])):
        pages[f"rules{name}"] = RulesPage(
            site=site(f"/boards/{shown.name}/rules"), board=shown, boards=boards, recipe=recipe_of(shown), groups=groups
        )
    return pages


def form_pages() -> dict[str, Page]:
    """Forms, empty and with problems; the account; the queue; errors."""
    boards = [board(), board("medium")]
    typed = SubmitValues(
        board="filtering-medium", kind="code", method=HOSTILE, description="two\nlines", link="https://a.b"
    )
    lines = [
        SubmissionLine(f"id{state}", "Caption agreement", "filtering-tiny", "code", state, state == "failed", NOW, size)
        for state, size in (("scored", 4912), ("training 2 of 3", 4912), ("failed", None), ("withdrawn", 12))
    ]
    tokens = [TokenLine("t1", "laptop", NOW, None, ["read"], NOW), TokenLine("t2", HOSTILE, NOW, NOW, [], NOW, True)]
    wrong = [Problem(code="sign-in-failed", message="the name or the password is wrong", where="name")]
    account: dict[str, Any] = {"site": site("/account", role="organiser"), "tokens": tokens, "submissions": lines}
    nobody: dict[str, Any] = {"site": site("/account/sign-in", name=None), "email": "", "next_path": "/submit"}
    return {
        "submit": SubmitPage(site=site("/submit"), boards=boards, values=SubmitValues(), quotas=QUOTAS),
        "submit-problems": SubmitPage(
            site=site("/submit"), boards=boards, values=typed, problems=PROBLEMS, file_problems=IN_FILE
        ),
        "submit-expression": SubmitPage(
            site=site("/submit"),
            boards=[*boards, board("small", track=Track.BYOD)],
            values=SubmitValues(kind="expression", expression=f"words > 3 and\n{HOSTILE}"),
            problems=[Problem(code="rule-invalid", message="unexpected '<' (line 2, column 1)", where="expression")],
            fault=ExpressionFault(at=14, line=2, column=1, text=HOSTILE),
        ),
        "submit-closed": SubmitPage(site=site("/submit"), boards=[], values=SubmitValues()),
        "account": AccountPage(**account),
        "account-team": AccountPage(**account, quotas=QUOTAS, team="The Sieves", scopes=["read", "submit", "organise"]),
        "account-token": AccountPage(**account, new_token="dc_0123456789abcdef0123456789abcdef"),
        "account-empty": AccountPage(site=site("/account"), tokens=[], submissions=[], problems=PROBLEMS),
        "sign-in": SignInPage(register=False, name="", **nobody),
        "sign-in-wrong": SignInPage(register=False, name=HOSTILE, problems=wrong, **nobody),
        "register": SignInPage(register=True, name="", **nobody),
        "sign-in-elsewhere": SignInPage(register=False, name="", providers=PROVIDERS, **nobody),
        "queue": QueuePage(site=site("/queue"), queue=queue()),
        "queue-empty": QueuePage(site=site("/queue"), queue=QueueOut(queues=[], workers=[], generated_at=NOW)),
        "error": ErrorPage(site=site("/nowhere", name=None), status=404, title="Not found", problems=IN_FILE),
    }


def reference_page() -> Page:
    """The API's reference of a small document."""
    operation = {
        "tags": ["boards"],
        "operationId": "get_board",
        "description": "One board.",
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/BoardOut"}}}}},
    }
    document = {
        "paths": {"/api/boards/{name}": {"get": operation}},
        "tags": [{"name": "boards", "description": "Tracks at scales."}],
        "components": {"schemas": {"BoardOut": {"properties": {"name": {"type": "string"}}, "required": ["name"]}}},
    }
    return ReferencePage(
        site=site("/api/docs", name=None),
        title="DataComp",
        version="0",
        description=["All of it."],
        sections=sections(document),
        schemas=schemas(document),
    )


def docs_pages() -> dict[str, Page]:
    """The index, and documents that have tables, code and links; every one is read by `test_docs`."""
    pages: dict[str, Page] = {"docs": DocsPage(site=site("/docs", name=None), chapters=chapters())}
    for name in ("formats", "recipe", "write-a-filter"):
        title, body, contents = read_document(name)
        pages[f"docs-{name}"] = DocPage(
            site=site(f"/docs/{name}"), name=name, title=title, body=body, contents=contents, chapters=chapters()
        )
    return pages


def all_pages() -> dict[str, Page]:
    """Every template in every state."""
    parts = (
        board_pages,
        receipt_pages,
        form_pages,
        people_pages,
        trends_pages,
        pool_pages,
        compare_pages,
        organise_pages,
        docs_pages,
    )
    pages = {name: page for part in parts for name, page in part().items()}
    return pages | {"reference": reference_page()}
