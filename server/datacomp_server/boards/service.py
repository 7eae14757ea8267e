"""Rules of boards: how a configuration is applied, and what freezes."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from datacomp.messages import BoardFacts, BoardOut, ByodSetting, DedupSetting, Track
from datacomp.problems import Problem, raise_if_any
from datacomp.scales import get_scale
from datacomp.suite import Suite
from datacomp_server.boards.config import BoardPlan
from datacomp_server.boards.deviation import CONFIGURED, SeedDeviation
from datacomp_server.boards.models import Board, StoredSuite
from datacomp_server.boards.repository import BoardRepository
from datacomp_server.clock import now
from datacomp_server.errors import NotFound

FROZEN = ("track", "scale", "suite_digest", "pool", "pool_digest", "seeds", "private_tasks", "byod")
"""What every entry of a board depends on: it cannot change once there is one."""


class BoardService:
    """Everything about boards."""

    def __init__(self, session: Session) -> None:
        self.boards = BoardRepository(session)

    def list_boards(self) -> list[BoardOut]:
        """All boards, in the order of pages; those no longer configured come last."""
        return [self.out(board) for board in self.boards.all()]

    def open_boards(self) -> list[BoardOut]:
        """The boards that take submissions, in the order of pages."""
        return [self.out(board) for board in self.open_rows()]

    def open_rows(self) -> list[Board]:
        """The rows of the boards that take submissions, for other services."""
        return [board for board in self.boards.all() if is_open(board)]

    def board(self, name: str) -> BoardOut:
        """One board; `NotFound` names those there are."""
        return self.out(self.row(name))

    def board_of_scale(self, scale: str, track: Track = Track.FILTERING) -> BoardOut:
        """The board that `--scale` means; `NotFound` when there is none."""
        return self.out(self.row_of_scale(scale, track))

    def suite(self, name: str) -> Suite:
        """The evaluation suite of a board."""
        return self.suite_of(self.row(name))

    def row(self, name: str) -> Board:
        """The board's row, for other services."""
        board = self.boards.get(name)
        if board is None:
            known = ", ".join(row.name for row in self.boards.all()) or "none yet"
            raise NotFound.of("board-unknown", f"there is no board {name!r}", where="board", hint=f"boards: {known}")
        return board

    def row_of_scale(self, scale: str, track: Track = Track.FILTERING) -> Board:
        """The row of the first board of a track and scale."""
        board = self.boards.by_scale(scale, track)
        if board is None:
            known = ", ".join(sorted({row.scale for row in self.boards.all()})) or "none yet"
            raise NotFound.of(
                "board-unknown", f"no {track} board has scale {scale!r}", where="scale", hint=f"scales: {known}"
            )
        return board

    def apply(self, plans: list[BoardPlan]) -> None:
        """Make the boards as described. Changes to what entries depend on are refused, all at once."""
        self.boards.lock()
        problems: list[Problem] = []
        for plan in plans:
            problems += self._refusals(plan)
        raise_if_any(problems)
        for plan in plans:
            self._apply(plan)
        described = {plan.config.name for plan in plans}
        for board in self.boards.all():
            if board.name not in described and board.listed:
                board.listed = False

    @staticmethod
    def out(board: Board) -> BoardOut:
        """The board as the API shows it."""
        return BoardOut(
            name=board.name,
            title=board.title,
            description=board.description,
            track=board.track,
            scale=get_scale(board.scale).to_json(),
            suite=board.suite.name,
            suite_digest=board.suite_digest,
            pool=board.pool,
            pool_digest=board.pool_digest,
            pool_rows=board.pool_rows,
            train_queue=board.train_queue,
            seeds=len(board.seeds),
            dedup=DedupSetting.model_validate(board.dedup),
            byod=ByodSetting.model_validate(board.byod) if board.byod is not None else None,
            max_upload_bytes=board.max_upload_bytes,
            submissions_per_day=board.submissions_per_day,
            submissions_total=board.submissions_total,
            submissions_concurrent=board.submissions_concurrent,
            opens_at=board.opens_at,
            closes_at=board.closes_at,
            open=is_open(board),
            closed=not board.listed or is_closed(board),
            private_tasks=board.private_tasks,
            reveals_at=board.reveals_at,
            revealed=is_revealed(board),
            disclosure=board.disclosure,
            show_images=board.show_images,
        )

    @staticmethod
    def suite_of(board: Board) -> Suite:
        """The suite as it was when the board named it."""
        return Suite.model_validate(board.suite.body)

    @staticmethod
    def facts(board: Board) -> BoardFacts:
        """What a worker needs to know of the board."""
        return BoardFacts(
            name=board.name,
            track=board.track,
            scale=board.scale,
            suite=board.suite.name,
            suite_digest=board.suite_digest,
            pool=board.pool,
            pool_digest=board.pool_digest,
            dedup=DedupSetting.model_validate(board.dedup),
            byod=ByodSetting.model_validate(board.byod or {}),
        )

    def _refusals(self, plan: BoardPlan) -> list[Problem]:
        board = self.boards.get(plan.config.name)
        if board is None or not self.boards.has_submissions(board.name):
            return []
        wanted = _columns(plan)

        def held(field: str) -> Any:
            """What the board has, in today's words: settings of before lack the newest fields."""
            found = getattr(board, field)
            return ByodSetting.model_validate(found).model_dump(mode="json") if field == "byod" and found else found

        return [
            Problem(
                code="board-frozen",
                message=f"{field} cannot change from {held(field)!r} to {wanted[field]!r}: there are entries",
                where=f"boards[{board.name}].{field}",
                hint="describe a new board with another name",
            )
            for field in FROZEN
            if held(field) not in (None, wanted[field])
        ]

    def _apply(self, plan: BoardPlan) -> None:
        if self.boards.suite(plan.suite.digest) is None:
            self.boards.add(
                StoredSuite(digest=plan.suite.digest, name=plan.suite.id, body=plan.suite.model_dump(mode="json"))
            )
        columns = _columns(plan)
        board = self.boards.get(plan.config.name)
        if board is None:
            self.boards.add(Board(name=plan.config.name, **columns))
            return
        if columns.get("seed_deviation", board.seed_deviation) != board.seed_deviation:
            self.boards.note_ranks(board.name)
        for field, value in columns.items():
            if getattr(board, field) != value:
                setattr(board, field, value)


def is_open(board: Board) -> bool:
    """Whether a board takes submissions now."""
    return board.listed and (board.opens_at is None or board.opens_at <= now()) and not is_closed(board)


def is_closed(board: Board) -> bool:
    """Whether a board's closing time is past."""
    return board.closes_at is not None and board.closes_at <= now()


def is_revealed(board: Board) -> bool:
    """Whether all its scores are shown."""
    return not board.private_tasks or (board.reveals_at is not None and board.reveals_at <= now())


def _columns(plan: BoardPlan) -> dict[str, Any]:
    config = plan.config
    spread = config.seed_deviation
    named = {} if spread is None else SeedDeviation(spread.average, spread.main, source=CONFIGURED).to_json()
    return {
        **({"seed_deviation": named} if named else {}),
        "title": config.title,
        "description": config.description,
        "track": config.track,
        "scale": config.scale,
        "suite_digest": plan.suite.digest,
        "pool": config.pool,
        "pool_digest": config.pool_digest,
        "pool_rows": config.pool_rows,
        "train_queue": plan.train_queue,
        "data_queue": config.data_queue,
        "seeds": config.seed_list,
        "dedup": config.dedup.model_dump(mode="json"),
        "byod": (config.byod or ByodSetting()).model_dump(mode="json") if config.track is Track.BYOD else None,
        "submissions_per_day": config.submissions_per_day,
        "submissions_total": config.submissions_total,
        "submissions_concurrent": config.submissions_concurrent,
        "max_upload_bytes": config.max_upload_bytes,
        "baseline_accounts": config.baseline_accounts,
        "baseline_submissions": config.baseline_submissions,
        "opens_at": config.opens_at,
        "closes_at": config.closes_at,
        "private_tasks": sorted(set(config.private_tasks)),
        "reveals_at": config.revealing if config.private_tasks else None,
        "disclosure": config.disclosure,
        "show_images": config.show_images,
        "position": plan.position,
        "listed": True,
    }
