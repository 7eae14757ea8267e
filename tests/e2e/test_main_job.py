"""The main job as a participant does it: filter, check, submit, watch, read the board; a worker dies on the way."""

import json
import os
import signal
import time

import psutil
import pytest
from e2e_place import EXAMPLES, Place
from tiny_world import PAIRS

from datacomp.digests import digest_file, digest_json
from datacomp.messages import SubmissionOut

pytestmark = pytest.mark.e2e


def worker_in_training(place: Place) -> psutil.Process:
    """The worker process that has a training child."""
    for child in place.platform.supervisor.children:
        if child.name.startswith("worker") and child.process is not None:
            process = psutil.Process(child.process.pid)
            if any("training" in " ".join(descendant.cmdline()) for descendant in process.children(recursive=True)):
                return process
    raise AssertionError("no worker is training")


@pytest.mark.timeout(290, func_only=True)
def test_uids_are_filtered_checked_submitted_trained_through_a_killed_worker_and_ranked(place: Place) -> None:
    uids = place.home / "uids.npy"
    made = place.datacomp(
        "filter", "clip_score", "--arch", "l14", "--fraction", "0.3", "--pool", str(place.pool), "--out", str(uids)
    )
    assert made.returncode == 0, made.stderr
    checked = place.datacomp("check", str(uids), "--scale", "tiny")
    assert checked.returncode == 0, checked.stderr
    receipt = place.submit(str(uids), "--scale", "tiny", "--name", "CLIP score")

    place.wait_for(receipt["id"], "training")
    deadline = time.monotonic() + 120
    while not any(run.progress and run.stage == "train" for run in place.client.submission(receipt["id"]).runs):
        assert time.monotonic() < deadline, "training shows no progress"
        time.sleep(0.2)
    victim = worker_in_training(place)
    children = victim.children(recursive=True)
    victim.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive, "the training child outlived its worker"

    watched = place.datacomp("status", receipt["id"], "--watch")
    assert watched.returncode == 0, watched.stdout + watched.stderr
    final = place.client.submission(receipt["id"])
    assert final.state == "scored"
    train = next(run for run in final.runs if run.stage == "train")
    assert train.attempts == 2
    assert final.subset_size is not None
    assert final.subset_size > 0
    assert final.score is not None
    assert len(final.score.tasks) >= 10

    board = json.loads(place.datacomp("leaderboard", "--scale", "tiny", "--json").stdout)
    row = next(row for row in board["rows"] if row["submission"] == receipt["id"])
    assert (row["method"], row["status"], row["score"]) == ("CLIP score", "scored", final.score.average)
    assert "CLIP score" in place.datacomp("leaderboard", "--scale", "tiny").stdout

    manifest = place.client.manifest(receipt["id"])
    assert manifest.digest == digest_json(manifest.body)
    assert digest_file(uids) in json.dumps(manifest.body)


@pytest.mark.timeout(290, func_only=True)
def test_code_is_run_in_the_sandbox_and_gives_the_same_subset_as_on_the_participants_machine(
    place: Place, rehearsed: SubmissionOut
) -> None:
    here = place.home / "here.npy"
    code = EXAMPLES / "caption_and_score.py"
    made = place.datacomp("filter", str(code), "--pool", str(place.pool), "--out", str(here))
    assert made.returncode == 0, made.stderr
    assert {run.stage.value for run in rehearsed.runs} >= {"validate", "filter", "subset", "train", "evaluate"}
    there = place.client.manifest(rehearsed.id)
    assert digest_file(here) in json.dumps(there.body)
    assert rehearsed.rehearsal
    assert rehearsed.id not in {row.submission for row in place.client.leaderboard(scale="tiny").rows}


def test_medium_waits_plainly_without_a_gpu_worker_and_can_be_cancelled(place: Place) -> None:
    receipt = place.submit("top_fraction(clip_l14_similarity_score, 0.25)", "--scale", "medium")
    waiting = place.wait_for(receipt["id"], "training")
    assert waiting.subset_size == pytest.approx(PAIRS / 4, rel=0.05)
    train = next(run for run in waiting.runs if run.stage == "train")
    assert "no worker serves queue gpu" in train.waiting_note
    assert "no worker serves queue gpu" in place.datacomp("status", receipt["id"]).stdout
    assert place.datacomp("cancel", receipt["id"]).returncode == 0
    assert place.client.submission(receipt["id"]).state == "cancelled"


def test_a_board_whose_pool_is_metadata_alone_validates_filters_and_waits(place: Place) -> None:
    receipt = place.submit(str(EXAMPLES / "caption_and_score.py"), "--scale", "large")
    waiting = place.wait_for(receipt["id"], "training")
    assert waiting.failure is None, waiting.failure
    assert {run.stage.value: run.state.value for run in waiting.runs} == {
        "validate": "done",
        "filter": "done",
        "subset": "done",
        "train": "queued",
        "evaluate": "waiting",
    }
    assert waiting.subset_size is not None
    assert waiting.subset_size > 0
    assert "no worker serves queue gpu" in next(run for run in waiting.runs if run.stage == "train").waiting_note
    place.client.cancel(receipt["id"])


@pytest.mark.faults
@pytest.mark.timeout(600, func_only=True)
def test_medium_rehearsal_goes_end_to_end_and_is_never_ranked(place: Place) -> None:
    uids = place.home / "medium.npy"
    place.datacomp("filter", "basic_filter", "--pool", str(place.pool), "--out", str(uids))
    receipt = place.submit(str(uids), "--scale", "medium", "--rehearsal")
    final = place.end_of(receipt["id"], 500)
    assert final.failure is None, final.failure
    assert final.rehearsal
    assert all(run.state == "done" for run in final.runs)
    board = place.client.leaderboard(scale="medium")
    assert receipt["id"] not in {row.submission for row in board.rows}


def test_cancelling_stops_the_training_child(place: Place) -> None:
    uids = place.home / "cancel.npy"
    place.datacomp("filter", "random_subset", "--fraction", "0.5", "--pool", str(place.pool), "--out", str(uids))
    receipt = place.submit(str(uids), "--scale", "tiny")
    place.wait_for(receipt["id"], "training")
    deadline = time.monotonic() + 120
    while True:
        try:
            worker = worker_in_training(place)
            break
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    children = [child for child in worker.children(recursive=True) if "training" in " ".join(child.cmdline())]
    place.client.cancel(receipt["id"])
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert worker.is_running()
    assert place.client.submission(receipt["id"]).state == "cancelled"
    assert os.getpid() != worker.pid
