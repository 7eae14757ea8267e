"""What Slurm is asked for, by commands that stand in for its own and write down what they were told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datacomp.problems import PlatformFault
from datacomp.scales import SCALES
from datacomp_worker.training import slurm
from datacomp_worker.training.crew import Crew
from datacomp_worker.training.events import Plan

SBATCH = (
    '#!/bin/sh\nfor last; do :; done\nenv > "{told}/env"\ncp "$last" "{told}/sbatch"\n'
    'while [ -e "{told}/busy" ]; do sleep 0.05; done\necho "Submitted batch job 77"\n'
)
SACCT = '#!/bin/sh\nprintf "JobID|State|NodeList\\n77|%s|node1\\n" "$(cat {told}/state)"\n'
SCANCEL = '#!/bin/sh\necho "$@" >> {told}/scancel\n'


def plan(home: Path) -> Plan:
    crew = Crew(launcher="slurm", hosts=4, processes=8, options={"slurm_partition": "gpu", "timeout_min": 90})
    return Plan(
        scale=SCALES["medium"],
        seed=0,
        shards=home,
        workdir=home,
        device="cuda",
        crew=crew,
        resume=None,
        identity="0" * 64,
        parent=os.getpid(),
    )


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Where the commands write; they lie in `told/bin`."""
    home = tmp_path / "told"
    (home / "bin").mkdir(parents=True)
    for name, text in (("sbatch", SBATCH), ("srun", SCANCEL), ("sacct", SACCT), ("scancel", SCANCEL)):
        program = home / "bin" / name
        program.write_text(text.format(told=home))
        program.chmod(0o755)
    (home / "state").write_text("RUNNING")
    return home


def start(told: Path, home: Path) -> subprocess.Popen[str]:
    from datacomp_worker.training.supervise import child_environment

    made = plan(home)
    (home / "plan.json").write_text(made.model_dump_json())
    given = {**os.environ, "PATH": f"{told / 'bin'}:{os.environ['PATH']}", "DATACOMP_WORKER_TOKEN": "secret-token"}
    command = [sys.executable, "-m", "datacomp_worker.training.child", str(home / "plan.json")]
    return subprocess.Popen(command, env=child_environment(made, given), stdout=subprocess.PIPE, text=True)


def test_a_job_asks_for_its_hosts_and_gpus_and_is_cancelled_when_told(told: Path, tmp_path: Path) -> None:
    with start(told, tmp_path) as child:
        assert child.stdout is not None
        assert "submitted as job 77 (slurm)" in child.stdout.readline()
        asked = (told / "sbatch").read_text()
        wanted = ("--nodes=4", "--ntasks-per-node=1", "--gpus-per-node=8", "--partition=gpu", "--time=90")
        assert [line for line in wanted if f"#SBATCH {line}" not in asked] == []
        assert "secret-token" not in (told / "env").read_text()
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 128 + signal.SIGTERM
    assert (told / "scancel").read_text().split() == ["77"]


def test_a_job_that_is_being_submitted_when_the_worker_ends_is_cancelled(told: Path, tmp_path: Path) -> None:
    (told / "busy").touch()
    with start(told, tmp_path) as child:
        while not (told / "sbatch").exists():
            assert child.poll() is None
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        (told / "busy").unlink()
        assert child.wait(60) == 128 + signal.SIGTERM
    assert (told / "scancel").read_text().split() == ["77"]


def test_without_slurm_the_job_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformFault) as caught:
        slurm._submit(plan(tmp_path), "plan.json")
    assert caught.value.problems[0].code == "slurm-refused"


def test_jobs_meet_at_ports_of_their_own() -> None:
    assert slurm._port("77") != slurm._port("78")
    assert all(20_000 <= slurm._port(job) < 40_000 for job in ("1", "123456789", "77_0", "none"))
