"""A suite's data: fetched from a hub as the original's tools name it, resumed and verified; checked, all at once."""

import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub import Hub, serving_hub
from typer.testing import CliRunner

from datacomp.cli.suite import suite_commands
from datacomp.digests import digest_file
from datacomp.problems import BadInput, PlatformFault, Problem
from datacomp.suite import Kind, Metric, Suite, Task, load_suite
from datacomp.suite_data import check_suite, download_suite
from datacomp.suite_data.sources import Repository

MIB = 1 << 20
PNG = b"\x89PNG\r\n\x1a\n" + bytes(600)


def task(key: str, kind: Kind = Kind.ZEROSHOT, **changes: object) -> Task:
    fields = {"name": key, "metric": Metric.ACC1, "group": "other", "size": 6}
    classes = {"classes": 3} if kind is Kind.ZEROSHOT else {}
    return Task.model_validate({"key": key, "kind": kind, **fields, **classes, **changes})


SUITE = Suite(
    name="made",
    version="1",
    tasks=(
        task("vtab/things"),
        task("fairness/rooms"),
        task("retrieval/pictures", Kind.RETRIEVAL, metric=Metric.MEAN_RECALL_AT_1, size=5),
        task("misc/winogavil", Kind.WINOGAVIL, metric=Metric.JACCARD, size=2),
    ),
)


def write_tar(path: Path, samples: Sequence[tuple[str, Mapping[str, bytes]]]) -> None:
    with tarfile.open(path, "w") as tar:
        for key, files in samples:
            for kind, data in files.items():
                member = tarfile.TarInfo(f"{key}.{kind}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def write_folder(folder: Path) -> None:
    """Six samples of three classes in two shards."""
    (folder / "test").mkdir(parents=True)
    (folder / "classnames.txt").write_text("a\nb\nc\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of {c}\n")
    (folder / "test" / "nshards.txt").write_text("2\n")
    (folder / "README.md").write_text("not data")
    for shard in range(2):
        samples = [(f"s{shard}{n}", {"png": PNG, "cls": str(n).encode()}) for n in range(3)]
        write_tar(folder / "test" / f"{shard}.tar", samples)


def write_tables(hub: Hub) -> None:
    pictures = hub.folder("nlphuji/pictures", "refs/convert/parquet") / "TEST" / "test"
    pictures.mkdir(parents=True)
    image = {"bytes": PNG, "path": None}
    rows = [{"image": image, "caption": [f"one {n}", "two\nlines"], "split": "test"} for n in range(5)]
    pq.write_table(pa.Table.from_pylist(rows[:3]), pictures / "0000.parquet")
    pq.write_table(pa.Table.from_pylist(rows[3:]), pictures / "0001.parquet")
    riddles = hub.folder("nlphuji/winogavil", "refs/convert/parquet") / "default" / "test"
    riddles.mkdir(parents=True)
    told = {"cue": "pointy", "candidates": ["cat", "pin", "axe"], "associations": ["axe", "pin"]}
    row = {**told, "candidate_images": [{"bytes": PNG[:-n], "path": None} for n in (1, 2, 3)]}
    pq.write_table(pa.Table.from_pylist([row, row]), riddles / "0000.parquet")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    with serving_hub(tmp_path / "hub") as made:
        write_folder(made.folder("djghosh/wds_vtab-things_test"))
        write_folder(made.folder("djghosh/wds_rooms_test"))
        write_tables(made)
        yield made


def fetch(hub: Hub, to: Path, **options: object) -> list[str]:
    return download_suite(SUITE, to, endpoint=hub.url, report=lambda *_: None, **options)


def problems(to: Path, suite: Suite = SUITE, **options: object) -> list[Problem]:
    return check_suite(suite, to, report=lambda *_: None, **options)


def files_in(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_repositories_are_those_of_the_originals_tools() -> None:
    found = {task.key: Repository.of(task).id for task in load_suite("datacomp-38").tasks}
    assert found["imagenet1k"] == "djghosh/wds_imagenet1k_test"
    assert found["vtab/caltech101"] == "djghosh/wds_vtab-caltech101_test"
    assert found["wilds/fmow"] == "djghosh/wds_wilds-fmow_test"
    assert found["fairness/dollar_street"] == "djghosh/wds_dollar_street_test"
    assert found["misc/winogavil"] == "nlphuji/winogavil"
    key = "retrieval/mscoco_2014_5k_test_image_text_retrieval"
    assert found[key] == "nlphuji/mscoco_2014_5k_test_image_text_retrieval"


def test_a_suite_is_fetched_whole_written_as_evaluation_reads_it_and_only_once(hub: Hub, tmp_path: Path) -> None:
    to, told = tmp_path / "suite", []
    done = download_suite(SUITE, to, endpoint=hub.url, report=lambda *said: told.append(said))
    assert done == [task.key for task in SUITE.tasks]
    assert problems(to, digests=True) == []
    assert any(0 < share <= size for _, share, size in told)
    source = hub.folder("djghosh/wds_rooms_test") / "test" / "1.tar"
    assert digest_file(to / "wds_fairness-rooms_test" / "test" / "1.tar") == digest_file(source)
    assert not (to / "wds_fairness-rooms_test" / "README.md").exists()
    captioned = files_in(to / "wds_retrieval-pictures_test" / "test" / "0.tar")
    assert captioned["s0000004.png"] == PNG
    assert captioned["s0000004.txt"] == b"one 4\ntwo lines"
    riddle = files_in(to / "wds_misc-winogavil_test" / "test" / "0.tar")
    assert json.loads(riddle["s0000001.json"]) == {"cue": "pointy", "associations": [1, 2]}
    assert riddle["s0000001.2.png"] == PNG[:-3]
    before = len(hub.asked)
    assert fetch(hub, to) == []
    assert len(hub.asked) == before


def test_a_cut_connection_is_resumed_and_damage_is_never_kept(hub: Hub, tmp_path: Path) -> None:
    to, only = tmp_path / "suite", {"tasks": ["vtab/things"]}
    tar = to / "wds_vtab-things_test" / "test" / "0.tar"
    samples = [(f"s{n}", {"png": bytes(n * MIB), "cls": b"0"}) for n in (1, 2, 15)]
    write_tar(hub.folder("djghosh/wds_vtab-things_test") / "test" / "0.tar", samples)
    hub.cut["0.tar"] = 12 * MIB
    fetch(hub, to, **only)
    assert hub.fetched("0.tar") == ["", f"bytes={10 * MIB}-"], "it comes in pieces of 10 MiB"
    assert problems(to, SUITE.model_copy(update={"tasks": SUITE.tasks[:1]}), digests=True) == []
    tar.write_bytes(tar.read_bytes()[:-1])
    assert fetch(hub, to, **only) == ["vtab/things"]
    tar.write_bytes(bytes(tar.stat().st_size))
    assert [one.code for one in problems(to, digests=True) if one.where == "vtab/things: test/0.tar"] == [
        "suite-digest"
    ]
    shutil.rmtree(to)
    hub.lies.add("1.tar")
    with pytest.raises(PlatformFault, match="suite-download-damaged"):
        fetch(hub, to, **only)
    assert not (to / "wds_vtab-things_test" / "test" / "1.tar").exists()
    hub.lies.clear()
    assert fetch(hub, to, **only) == ["vtab/things"]


def test_what_cannot_be_had_is_named_and_the_rest_fetched(hub: Hub, tmp_path: Path) -> None:
    shutil.rmtree(hub.folder("djghosh/wds_vtab-things_test"))
    with pytest.raises(PlatformFault, match="suite-download") as missing:
        fetch(hub, tmp_path / "suite")
    assert [problem.where.partition(":")[0] for problem in missing.value.problems if problem.where] == ["vtab/things"]
    assert (tmp_path / "suite" / "wds_misc-winogavil_test" / "download.json").is_file()
    with pytest.raises(BadInput, match="task-unknown"):
        fetch(hub, tmp_path / "suite", tasks=["nope"])


def test_everything_wrong_with_a_tree_is_said_at_once(tmp_path: Path) -> None:
    suite = Suite(name="n", version="1", tasks=tuple(task(f"t{n}") for n in range(8)))
    for one in suite.tasks[1:]:
        write_folder(tmp_path / one.folder)
    folder = [tmp_path / one.folder for one in suite.tasks]
    (folder[1] / "classnames.txt").write_text("a\nb\n")
    (folder[2] / "zeroshot_classification_templates.txt").write_text("no blank\n")
    (folder[3] / "test" / "1.tar").unlink()
    (folder[4] / "test" / "nshards.txt").write_text("1\n")
    write_tar(folder[5] / "test" / "1.tar", [(f"s{n}", {"png": PNG, "cls": b"3"}) for n in range(3)])
    (folder[6] / "test" / "0.tar").write_bytes(b"no tar")
    (folder[7] / "test" / "nshards.txt").write_text("many\n")
    found = problems(tmp_path, suite)
    assert [(one.where or "").partition(":")[0] + " " + one.code for one in found] == [
        "t0 suite-folder-missing",
        "t1 suite-classes",
        "t2 suite-template",
        "t3 suite-shard-unreadable",
        "t4 suite-count",
        "t5 suite-label",
        "t6 suite-shard-unreadable",
        "t7 suite-file-invalid",
    ]
    assert all(one.hint for one in found)


def test_the_commands_fetch_from_a_mirror_and_check(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, to = tmp_path / "made.json", tmp_path / "suite"
    file.write_text(SUITE.model_dump_json())
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(suite_commands, [*arguments])
        assert done.exit_code == code, done.output
        return done.output

    assert "4 tasks of made@1 fetched" in run("download", str(file), "--to", str(to))
    assert "good: 4 tasks" in run("check", str(to), "--suite", str(file), "--digests")
    shutil.rmtree(to / "wds_vtab-things_test")
    assert "suite-folder-missing" in run("check", str(to), "--suite", str(file), code=1)
    assert "good: 1 tasks" in run("check", str(to), "--suite", str(file), "--tasks", "misc/winogavil")
    assert "datacomp-38@1" in run("list")
