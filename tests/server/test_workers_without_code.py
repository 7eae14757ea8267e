"""Workers whose sandbox does not hold are handed no code; people are told so, and why."""

from server_site import Site, codes

from datacomp.messages import Stage

CODE = b'"""How."""\nfrom datacomp.filtering import Filter\n\nclass A(Filter):\n    pass\n'
REASON = "sandbox-missing: bwrap is not installed"
KIND = {"kind": "code", "filename": "mine.py"}


def hello(site: Site, name: str, no_code: str, *queues: str) -> None:
    body = {"worker": name, "queues": list(queues or ("cpu",)), "no_code": no_code}
    assert site.http.post("/api/worker/hello", json=body, headers=site.headers("worker")).status_code == 204


def claimed_stage(site: Site, name: str, no_code: str) -> str | None:
    body = {"worker": name, "queues": ["cpu"], "no_code": no_code}
    reply = site.http.post("/api/worker/claim", json=body, headers=site.headers("worker"))
    return reply.json()["stage"] if reply.status_code == 200 else None


def test_code_goes_to_workers_that_can_run_it(site: Site) -> None:
    submission = site.submit("ada", CODE, **KIND)
    site.worker().must_claim(Stage.VALIDATE).finish()
    assert claimed_stage(site, "bare", REASON) is None
    run = next(run for run in site.receipt(submission.id).runs if run.stage is Stage.FILTER)
    assert run.waiting_note.startswith("position 1 of 1"), "another live worker can"
    assert claimed_stage(site, "whole", "") == "filter"


def test_other_runs_go_to_any_worker(site: Site) -> None:
    site.submit("ada", CODE, **KIND)
    assert claimed_stage(site, "bare", REASON) == "validate"


def test_where_no_worker_can_code_is_refused_with_the_reason(site: Site) -> None:
    hello(site, "bare", REASON)
    body = site.announce(CODE, **KIND)
    reply = site.http.post("/api/submissions", json=body, headers=site.headers("ada"))
    assert codes(reply) == ["sandbox-missing"]
    problem = reply.json()["problems"][0]
    assert "bwrap is not installed" in problem["message"]
    assert "expression" in problem["hint"]
    assert (
        site.http.post("/api/submissions", json=site.announce(b"x" * 16), headers=site.headers("ada")).status_code
        == 201
    )
    hello(site, "elsewhere", "", "gpu")
    assert codes(site.http.post("/api/submissions", json=body, headers=site.headers("ada"))) == ["sandbox-missing"]
    hello(site, "whole", "")
    assert site.http.post("/api/submissions", json=body, headers=site.headers("ada")).status_code == 201


def test_what_waits_for_a_sandbox_says_so(site: Site) -> None:
    submission = site.submit("ada", CODE, **KIND)
    site.worker("bare").must_claim(Stage.VALIDATE).finish()
    hello(site, "bare", REASON)
    run = next(run for run in site.receipt(submission.id).runs if run.stage is Stage.FILTER)
    assert run.waiting_note == f"no worker of queue cpu can run code: {REASON}"
    queue = site.http.get("/api/queue").json()
    assert [worker["no_code"] for worker in queue["workers"]] == [REASON]
    assert "bwrap is not installed" in site.http.get("/queue").text


def test_only_organisers_are_told_where_on_its_host_a_worker_is_short_of_something(site: Site) -> None:
    reason = (
        "sandbox-missing: /srv/secret-place/bwrap: cannot run (no such file): '/opt/my tools/x' [host-7.inside] "
        "— see docs/sandbox.md"
    )
    submission = site.submit("ada", CODE, **KIND)
    site.worker("bare").must_claim(Stage.VALIDATE).finish()
    hello(site, "bare", reason)
    told = [
        site.http.get("/api/queue").text,
        site.http.get("/api/queue", headers=site.headers("ada")).text,
        site.http.get("/queue").text,
        site.receipt(submission.id, "ada").model_dump_json(),
        site.http.post("/api/submissions", json=site.announce(CODE, **KIND), headers=site.headers("ada")).text,
    ]
    for text in told:
        assert "cannot run (no such file)" in text, text
        assert not [place for place in ("secret-place", "my tools", "host-7") if place in text], text
    organisers = site.http.get("/api/queue", headers=site.headers("organiser")).json()
    assert organisers["workers"][0]["no_code"] == reason
