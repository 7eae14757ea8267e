"""A dataset as a participant brings it: served on loopback, fetched, decontaminated, trained on; its own board."""

import pytest
from e2e_place import Place

from datacomp.local.demo_byod import serving_gallery

pytestmark = pytest.mark.e2e
PICTURES = 512


@pytest.mark.timeout(290, func_only=True)
def test_a_gallery_is_brought_to_the_byod_board_alone_and_scored(place: Place) -> None:
    data = place.platform.data_dir
    dataset = place.home / "gallery.parquet"
    with serving_gallery(dataset, data / "suites" / "tiny", PICTURES):
        checked = place.datacomp("check", str(dataset))
        assert checked.returncode == 0, checked.stderr
        refused = place.datacomp("submit", str(dataset), "--scale", "tiny")
        assert refused.returncode == 1
        assert "kind-refused" in refused.stderr
        receipt = place.submit(str(dataset), "--track", "byod", "--scale", "tiny", "--name", "Gallery", "--rehearsal")
        found = place.end_of(receipt["id"], 240)
    assert found.state == "scored", found.failure
    stages = {run.stage.value: run.result for run in found.runs}
    assert list(stages) == ["validate", "fetch", "decontaminate", "subset", "train", "evaluate"]
    assert stages["fetch"]["samples"] > 0.9 * PICTURES
    assert stages["fetch"]["causes"]["http-404"] >= 1
    assert set(stages["fetch"]["licenses"]) == {"CC0-1.0", "CC-BY-4.0"}
    assert stages["decontaminate"]["near_images"] >= 16
    assert place.client.board("byod-tiny").track == "byod"
    page = place.datacomp("leaderboard", "--track", "byod", "--scale", "tiny")
    assert page.returncode == 0, page.stderr
