"""`datacomp demo`: the main job, end to end, for real. Nothing here is special-cased by server or workers."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.live import Live
from rich.table import Table

from datacomp.cli.display import leaderboard_table
from datacomp.client import Client
from datacomp.console import console, counting
from datacomp.local.platform import LocalPlatform
from datacomp.messages import LeaderboardOut, SubmissionOut
from datacomp.problems import PlatformFault

BOARD = "filtering-tiny"
ORGANISER = "organiser"


@dataclass(frozen=True)
class Entry:
    """One submission of the demo: a named filter run on this machine, or a participant's file from `examples/`.

    What the organiser submits counts as the board's baselines.
    """

    participant: str
    method: str
    description: str
    filter_name: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    example: str = ""


ENTRIES = (
    Entry(ORGANISER, "No filter", "The whole pool.", filter_name="no_filter"),
    Entry(
        ORGANISER,
        "Basic filter",
        "English, longer than two words, not tiny, not extreme.",
        filter_name="basic_filter",
    ),
    Entry(
        ORGANISER,
        "CLIP score (L/14, top 30%)",
        "The 30% of pairs whose image and caption a reference CLIP finds most alike.",
        filter_name="clip_score",
        parameters=(("arch", "l14"), ("fraction", "0.3")),
    ),
    Entry(
        "ada", "Caption and score", "A participant's Python filter, run in the sandbox.", example="caption_and_score.py"
    ),
)


class Timings:
    """Wall time by part, for the closing table."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, float]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part."""
        console.rule(name, align="left", style="dim")
        start = time.monotonic()
        yield
        self.parts.append((name, time.monotonic() - start))

    def show(self) -> None:
        """Print the parts and their sum."""
        table = Table(title="wall time", title_justify="left", box=None, padding=(0, 2))
        table.add_column("part")
        table.add_column("seconds", justify="right")
        for name, seconds in self.parts:
            table.add_row(name, f"{seconds:.1f}")
        table.add_row("[bold]all", f"[bold]{sum(seconds for _, seconds in self.parts):.1f}")
        console.print(table)


def examples_dir() -> Path:
    """The participants' filters: beside the packages in a checkout, inside them in an installed wheel."""
    checkout = Path(__file__).parents[3] / "examples"
    return checkout if checkout.is_dir() else Path(__file__).parents[1] / "_examples"


def run_demo(data_dir: Path, *, port: int, stop: bool, json_file: Path | None, pairs: int) -> LeaderboardOut:
    """Run the demo; returns the board it ended with. `PlatformFault` when an entry did not end scored."""
    data_dir = data_dir.resolve()
    timings = Timings()
    with timings.part("Generate the tiny world"):
        make_world(data_dir, pairs)
    with timings.part("Start the platform"):
        platform = LocalPlatform(data_dir, port=port).__enter__()
    try:
        platform.announce()
        with timings.part("Make and send four submissions"):
            receipts = submit_entries(platform)
        with timings.part("Filter, train, evaluate"):
            receipts = watch_all(Client(platform.url), [receipt.id for receipt in receipts])
        board = Client(platform.url).leaderboard(board=BOARD)
        console.print(leaderboard_table(board))
        timings.show()
        if json_file is not None:
            json_file.write_text(board.model_dump_json(indent=2))
        require_scored(receipts)
        platform.announce()
        if not stop:
            platform.keep_running()
    finally:
        platform.__exit__(None, None, None)
    return board


def make_world(data_dir: Path, pairs: int) -> None:
    """Generate and ingest the tiny world, unless an earlier demo did."""
    pool = data_dir / "pools" / "tiny"
    marker = data_dir / "demo" / "world.json"
    wanted = {"pairs": pairs, "seed": 0}
    if marker.is_file() and json.loads(marker.read_text()) == wanted:
        console.print(f"the tiny world is there: {pool}")
        return
    suite = data_dir / "suites" / "tiny"
    datacomp("pool", "generate", str(pool), "--suite-dir", str(suite), "--pairs", str(pairs))
    datacomp("pool", "ingest", str(pool))
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps(wanted))


def datacomp(*arguments: str) -> None:
    """Run a command of our own in a process of its own, its output on this terminal."""
    done = subprocess.run([sys.executable, "-m", "datacomp", *arguments], check=False)
    if done.returncode:
        raise PlatformFault.of("command-failed", f"datacomp {' '.join(arguments)} ended with code {done.returncode}")


def submit_entries(platform: LocalPlatform) -> list[SubmissionOut]:
    """Submit what has not been submitted by an earlier demo over this data directory."""
    url, data_dir = platform.url, platform.data_dir
    memory = data_dir / "demo" / "submitted.json"
    state: dict[str, dict[str, str]] = json.loads(memory.read_text()) if memory.is_file() else {}
    tokens, sent = state.setdefault("tokens", {}), state.setdefault("submissions", {})
    organiser = platform.secrets["organiser_token"]
    receipts = []
    for entry in ENTRIES:
        if entry.participant not in {*tokens, ORGANISER}:
            tokens[entry.participant] = Client(url).register(entry.participant, secrets.token_urlsafe(16)).token
        client = Client(url, tokens.get(entry.participant, organiser))
        if entry.method not in sent:
            receipt = client.submit(
                make_file(entry, data_dir), BOARD, method=entry.method, description=entry.description
            )
            sent[entry.method] = receipt.id
            memory.write_text(json.dumps(state))
            memory.chmod(0o600)
        receipts.append(client.submission(sent[entry.method]))
        console.print(f"{entry.method} by {entry.participant}: {receipts[-1].url}", soft_wrap=True)
    return receipts


def make_file(entry: Entry, data_dir: Path) -> Path:
    """The file that the participant hands in: uids made by the filter here, or the filter's code."""
    if entry.example:
        return examples_dir() / entry.example
    from datacomp.commands.filter import run_filter

    out = data_dir / "demo" / f"{entry.filter_name}.npy"
    with counting(entry.method, "rows") as report:
        run_filter(entry.filter_name, data_dir / "pools" / "tiny", out, dict(entry.parameters), report=report)
    return out


def watch_all(client: Client, ids: list[str]) -> list[SubmissionOut]:
    """Show all submissions live until each is final; where there is no terminal, a line for every new state."""
    states: dict[str, str] = {}
    with Live(console=console, refresh_per_second=4) as live:
        while True:
            receipts = [client.submission(submission) for submission in ids]
            live.update(overview(receipts))
            for receipt in receipts:
                if not console.is_terminal and states.get(receipt.id) != receipt.state:
                    console.print(f"{receipt.method}: {receipt.state}")
                states[receipt.id] = receipt.state
            if all(receipt.final for receipt in receipts):
                return receipts
            time.sleep(0.5)


def overview(receipts: list[SubmissionOut]) -> Table:
    """One line per submission: where it is and how far."""
    table = Table(box=None, padding=(0, 2))
    for column in ("submission", "state", "progress"):
        table.add_column(column)
    for receipt in receipts:
        running = [run for run in receipt.runs if run.state == "running" and run.progress]
        text = ""
        if running and (progress := running[-1].progress):
            total = f"/{progress.total:,.0f}" if progress.total else ""
            text = f"{progress.done:,.0f}{total} {progress.unit}"
            text += f", {progress.rate:,.0f}/s" if progress.rate else ""
            text += "".join(f", {name} {value:.3g}" for name, value in progress.values.items())
        elif receipt.score and receipt.score.average is not None:
            text = f"average {receipt.score.average:.3f}"
        elif receipt.failure:
            text = str(receipt.failure.problems[0])
        table.add_row(receipt.method, receipt.state, text)
    return table


def require_scored(receipts: list[SubmissionOut]) -> None:
    """`PlatformFault` naming every submission that did not end scored."""
    bad = [
        f"{r.method}: {r.state} ({r.failure.problems[0] if r.failure else 'no cause'})"
        for r in receipts
        if r.state != "scored"
    ]
    if bad:
        raise PlatformFault.of(
            "demo-incomplete", "; ".join(bad), hint="see the receipts and the logs in the data directory"
        )
