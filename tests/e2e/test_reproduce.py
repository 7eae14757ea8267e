"""A result of the platform is done again from its manifest by somebody else's command line."""

import json

import pytest
from e2e_place import Place

from datacomp.messages import SubmissionOut

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(290, func_only=True)
def test_a_result_is_reproduced_bit_for_bit_from_its_manifest(place: Place, rehearsed: SubmissionOut) -> None:
    again = place.datacomp("reproduce", rehearsed.id, "--work", "again", "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    told = json.loads(again.stdout)
    lines = {(line["what"], line["seed"]): line for line in told["lines"]}
    assert told["reproduced"] is True
    assert told["differences"] == []
    for what in (("subset", None), ("weights", 0), ("records", 0), ("average", 0), ("main", 0)):
        assert lines[what]["agrees"] is True, lines[what]
        assert lines[what]["theirs"] == lines[what]["ours"]

    changed = place.client.manifest(rehearsed.id).model_dump(mode="json")["body"]
    changed["scores"]["seeds"][0]["average"] += 0.2
    (place.home / "changed.json").write_text(json.dumps(changed))
    options = ("--server", place.platform.url, "--work", "other", "--stages", "subset")
    shown = place.datacomp("reproduce", "changed.json", *options)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "reproduced" in shown.stdout
