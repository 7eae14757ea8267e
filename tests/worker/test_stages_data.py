"""The stages validate and filter: what they leave, what they report, what they refuse."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from boxed import require_bubblewrap
from small_pool import SmallPool

from datacomp import bitmap
from datacomp import uids as u
from datacomp.commands.filter import run_filter
from datacomp.digests import digest_bytes, digest_file
from datacomp.messages import BoardFacts, FileRef, Job, Progress, Stage, SubmissionKind, Track
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput, PlatformFault
from datacomp_worker.pipeline import describe_failure, stage_function
from datacomp_worker.stages.base import Cancelled, StageContext, StageOutput
from datacomp_worker.stages.uploads import safe_name

EXAMPLE = Path(__file__).parents[2] / "examples" / "caption_and_score.py"
HEAD = '''"""How it is done."""
from datacomp.filtering import Filter

class F(Filter):
    columns = ("words", "clip_l14_similarity_score")
    rule = "top_fraction(score, 0.3)"

    def score(self, batch):
'''


@dataclass
class Notes:
    """Where the reporter stands: keeps what a stage says."""

    said: list[Progress] = field(default_factory=list)
    text: str = ""
    lost: bool = False

    def progress(self, progress: Progress) -> None:
        self.check()
        self.said.append(progress)

    def log(self, text: str) -> None:
        self.check()
        self.text += text

    def check(self) -> None:
        if self.lost:
            raise Cancelled

    def store(self, name: str, path: Path) -> None:
        raise AssertionError("these stages store nothing before they end")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    directory = tmp_path_factory.mktemp("pool")
    SmallPool().write(directory)
    return ingest(directory, processes=1)


@dataclass
class Bench:
    """One worker's place for attempts at stages."""

    pool: Pool
    root: Path
    notes: Notes = field(default_factory=Notes)
    attempts: int = 0

    def run(self, stage: Stage, kind: SubmissionKind, upload: bytes | Path, name: str, **board: object) -> StageOutput:
        self.attempts += 1
        workspace = self.root / str(self.attempts)
        workspace.mkdir()
        content = upload if isinstance(upload, bytes) else upload.read_bytes()
        file = self.root / f"upload-{self.attempts}"
        file.write_bytes(content)
        facts: Mapping[str, object] = {
            "name": "b", "track": Track.FILTERING, "scale": "tiny", "suite": "tiny@1",
            "suite_digest": digest_bytes(b""), "pool": "tiny", **board,
        }  # fmt: skip
        job = Job(
            attempt=str(self.attempts), fence=1, number=1, lease_seconds=60, heartbeat_seconds=15, run="r",
            submission="s", stage=stage, seed=0, rehearsal=False, kind=kind, board=BoardFacts(**facts),
            upload=FileRef(name=name, digest=digest_bytes(content), size=len(content)), inputs=[], facts={},
        )  # fmt: skip
        context = StageContext(
            job=job, workspace=workspace, scratch=self.root, pool_dir=self.pool.directory, suite_dir=self.root,
            inputs={"upload": file}, resume=None, report=self.notes,
        )  # fmt: skip
        return stage_function(stage)(context)


@pytest.fixture
def bench(pool: Pool, tmp_path: Path) -> Bench:
    return Bench(pool, tmp_path)


def code_of(error: pytest.ExceptionInfo[BadInput]) -> str:
    return error.value.problems[0].code


# --- validate


@pytest.mark.parametrize("raw", [False, True])
def test_uids_become_the_canonical_subset(bench: Bench, pool: Pool, tmp_path: Path, raw: bool) -> None:
    uids = np.repeat(np.asarray(pool.sorted_uids), 2)
    expected = tmp_path / "expected.npy"
    u.write_subset(expected, uids)
    upload = uids.tobytes() if raw else expected
    done = bench.run(Stage.VALIDATE, SubmissionKind.UIDS, upload, "uids.npy")
    assert done.files["subset.npy"].read_bytes() == expected.read_bytes()
    assert (done.result.rows, done.result.unique, done.result.repeats) == (120, 60, 60)
    assert done.result.unavailable == 4
    assert bench.notes.said[-1].done == bench.notes.said[-1].total == 120
    assert "uids.npy: 120 rows" in bench.notes.text


@pytest.mark.parametrize("times", [1, 3])
def test_a_bitmap_becomes_just_what_its_npy_becomes(bench: Bench, pool: Pool, tmp_path: Path, times: int) -> None:
    subset = np.repeat(np.asarray(pool.sorted_uids)[::2], times)
    plain, small = tmp_path / "s.npy", tmp_path / "s.bitmap"
    u.write_subset(plain, subset)
    assert bitmap.write(small, subset, pool)
    one, other = (bench.run(Stage.VALIDATE, SubmissionKind.UIDS, path, path.name) for path in (plain, small))
    assert one.result == other.result
    assert one.files["subset.npy"].read_bytes() == other.files["subset.npy"].read_bytes() == plain.read_bytes()
    damaged = small.read_bytes()[:-1]
    with pytest.raises(BadInput, match="bitmap-length") as error:
        bench.run(Stage.VALIDATE, SubmissionKind.UIDS, damaged, "mine.bitmap")
    assert error.value.problems[0].where == "mine.bitmap"


def test_all_problems_of_uids_at_once_with_the_participants_file_name(bench: Bench, pool: Pool, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.concatenate([np.asarray(pool.sorted_uids)[::-1], u.from_hex(["f" * 32])]))
    with pytest.raises(BadInput) as error:
        bench.run(Stage.VALIDATE, SubmissionKind.UIDS, tmp_path / "x.npy", "../my uids.npy")
    assert [problem.code for problem in error.value.problems] == ["uids-unsorted", "uids-unknown"]
    assert [problem.where for problem in error.value.problems] == ["my uids.npy: row 1", "my uids.npy: row 60"]
    with pytest.raises(BadInput, match="uids-dtype") as error:
        bench.run(Stage.VALIDATE, SubmissionKind.UIDS, npy(tmp_path, np.arange(4)), "u.npy")
    assert error.value.problems[0].where == "u.npy: header"


def npy(directory: Path, array: np.ndarray) -> Path:
    np.save(directory / "array.npy", array)
    return directory / "array.npy"


def test_code_is_parsed_and_never_run(bench: Bench, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    source = f"{HEAD}        return 1\nopen({str(trap)!r}, 'w')\n"
    done = bench.run(Stage.VALIDATE, SubmissionKind.CODE, source.encode(), "mine.py")
    assert (done.result.description, done.files) == ("How it is done.", {})
    assert not trap.exists()
    with pytest.raises(BadInput, match="filter-syntax") as error:
        bench.run(Stage.VALIDATE, SubmissionKind.CODE, b"x = 1\ndef broken(:\n", "mine.py")
    assert error.value.problems[0].where == "mine.py:2:12"


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (b"words > 2 and lang == 'en'", []),
        (b"words > 2 and", ["rule-invalid"]),
        (b"nothing > 1 or other > 2", ["column-unknown", "column-unknown"]),
        (b"score > 0.3", ["column-unknown"]),
        (b"clip_l14_similarity_score", ["rule-not-a-choice"]),
        (b"words - words - words", ["rule-count-negative"]),
        (b"lang > 3", ["rule-invalid"]),
        (b" \n", ["rule-empty"]),
        (b"\xff\xfe", ["rule-encoding"]),
        (b"1 +" * 5000, ["rule-too-long"]),
    ],
)
def test_expressions_are_checked(bench: Bench, text: bytes, codes: list[str]) -> None:
    if not codes:
        assert (
            bench.run(Stage.VALIDATE, SubmissionKind.EXPRESSION, text, "rule.txt").result.description == text.decode()
        )
        return
    with pytest.raises(BadInput) as error:
        bench.run(Stage.VALIDATE, SubmissionKind.EXPRESSION, text, "rule.txt")
    assert [problem.code for problem in error.value.problems] == codes


def test_another_pool_or_none_is_the_platforms_fault(bench: Bench, pool: Pool, tmp_path: Path) -> None:
    good = npy(tmp_path, np.asarray(pool.sorted_uids))
    bench.run(Stage.VALIDATE, SubmissionKind.UIDS, good, "u.npy", pool_digest=pool.manifest.digest)
    for stage, kind in ((Stage.VALIDATE, SubmissionKind.UIDS), (Stage.FILTER, SubmissionKind.CODE)):
        with pytest.raises(PlatformFault, match="pool-digest"):
            bench.run(stage, kind, good, "u.npy", pool_digest="0" * 64)
    bench.pool = Pool(tmp_path, pool.manifest)
    with pytest.raises(PlatformFault, match="pool-not-ingested"):
        bench.run(Stage.VALIDATE, SubmissionKind.UIDS, good, "u.npy")


def test_a_lost_run_stops(bench: Bench, pool: Pool, tmp_path: Path) -> None:
    bench.notes.lost = True
    with pytest.raises(Cancelled):
        bench.run(Stage.VALIDATE, SubmissionKind.UIDS, npy(tmp_path, np.asarray(pool.sorted_uids)), "u.npy")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("mine.py", "mine.py"),
        ("../../etc/passwd", "passwd.py"),
        ("C:\\filters\\mine.py", "mine.py"),
        ("..", "upload.py"),
        ("a\x1b[2J\n.py", "a__2J_.py"),
        ("x" * 300 + ".py", "x" * 97 + ".py"),
        ("--help", "--help.py"),
    ],
)
def test_names_of_uploads_are_made_safe(name: str, safe: str) -> None:
    assert safe_name(name, code=True) == safe


# --- filter


def test_an_expression_selects(bench: Bench, pool: Pool) -> None:
    done = bench.run(Stage.FILTER, SubmissionKind.EXPRESSION, b"words > 3\n", "rule.txt")
    kept = np.asarray(pool.column("words")) > 3
    assert np.array_equal(u.open_subset(done.files["subset.npy"]), u.sort(np.asarray(pool.uids)[kept]))
    assert (done.result.rows_in, done.result.rows_kept, done.result.rule) == (60, kept.sum(), "words > 3")


def test_code_gives_the_same_bytes_as_on_the_participants_machine(bench: Bench, pool: Pool, tmp_path: Path) -> None:
    require_bubblewrap()
    here = tmp_path / "here.npy"
    made = run_filter(str(EXAMPLE), pool.directory, here, {})
    done = bench.run(Stage.FILTER, SubmissionKind.CODE, EXAMPLE, EXAMPLE.name)
    assert 0 < made.rows_kept < 60
    assert digest_file(done.files["subset.npy"]) == digest_file(here)
    assert (done.result.rows_kept, done.result.rule) == (made.rows_kept, made.rule)
    assert bench.notes.said[-1].done == bench.notes.said[-1].total == 60


def run_code(bench: Bench, body: str, head: str = HEAD) -> StageOutput:
    require_bubblewrap()
    return bench.run(Stage.FILTER, SubmissionKind.CODE, f"{head}        {body}\n".encode(), "mine.py")


@pytest.mark.parametrize(
    ("body", "rule", "code"),
    [
        ("return batch['words'] * 0.0 + float('nan')", "score > 0", "filter-kept-nothing"),
        ("return batch['words'] > 99", "score", "filter-kept-nothing"),
        ("return batch['words'].astype('int64') * 0 + 2**31 - 1", "score", "subset-too-large"),
        ("return batch['words']", "-score", "rule-count-negative"),
        ("return batch['words'] * 1.0", "score >", "rule-invalid"),
        ("return batch['words'] * 1.0", "__import__('os')", "rule-invalid"),
    ],
)
def test_the_rule_is_judged_outside(bench: Bench, body: str, rule: str, code: str) -> None:
    with pytest.raises(BadInput) as error:
        run_code(bench, body, HEAD.replace("top_fraction(score, 0.3)", rule))
    assert code_of(error) == code
    assert error.value.problems[0].where


def test_prints_go_to_the_log_and_with_the_failure(bench: Bench) -> None:
    run_code(bench, "print('a word'); return batch['clip_l14_similarity_score']")
    assert "a word" in bench.notes.text
    assert "by the rule top_fraction(score, 0.3)" in bench.notes.text
    with pytest.raises(BadInput) as error:
        run_code(bench, "print('the last word'); return 1 / 0")
    failure = describe_failure(error.value)
    assert failure.blame == "participant"
    assert failure.problems[0].where == "mine.py:9, in score"
    assert "the last word" in failure.log_tail
    assert "the last word" in bench.notes.text


def test_the_clock_is_a_setting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATACOMP_SANDBOX_SECONDS", "6")
    with pytest.raises(BadInput) as error:
        run_code(bench, "while True: pass")
    assert code_of(error) == "filter-timeout"
    assert "6.036 seconds" in error.value.problems[0].message


def test_without_a_sandbox_code_is_refused_and_never_run_bare(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from datacomp_worker.sandbox import command, require_sandbox

    require_sandbox.cache_clear()
    monkeypatch.setattr(command.shutil, "which", lambda *arguments, **options: None)
    trap = tmp_path / "ran"
    source = f"open({str(trap)!r}, 'w')\n{HEAD}        return batch['words']\n"
    with pytest.raises(PlatformFault, match="sandbox-missing") as fault:
        bench.run(Stage.FILTER, SubmissionKind.CODE, source.encode(), "mine.py")
    assert "install" in (fault.value.problems[0].hint or "")
    assert not trap.exists()


def test_uids_are_not_filtered(bench: Bench) -> None:
    with pytest.raises(PlatformFault, match="stage-unfit"):
        bench.run(Stage.FILTER, SubmissionKind.UIDS, b"", "u.npy")
