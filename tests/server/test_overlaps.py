"""What entries have in common with others of their board, on receipts and their pages."""

import io

import numpy as np
from server_site import ONLY_SQLITE, Site, uids

from datacomp.messages import SKETCH_FILE, Stage, SubmissionOut
from datacomp.sketches import sketch_of
from datacomp.uids import UID_DTYPE


def scored(site: Site, name: str, content: bytes, colours: int, **changes: object) -> SubmissionOut:
    """As `Site.score`, by a worker who leaves sketches."""
    opened = site.submit(name, content, **changes)
    worker = site.worker()
    attempt = worker.work_until(Stage.SUBSET)
    result, files = attempt.output(colours, None)
    files[SKETCH_FILE] = sketch_of(np.load(io.BytesIO(content)).astype(UID_DTYPE)).to_bytes()
    refs = [attempt.store(file, data).json() for file, data in files.items()]
    assert attempt.post("finish", result=result, outputs=refs, environment={}, log="").status_code == 204
    worker.work(colours=colours)
    return site.receipt(opened.id)


def part(first: int, last: int) -> bytes:
    array = np.zeros(last - first, "u8,u8")
    array["f1"] = np.arange(first, last)
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@ONLY_SQLITE
def test_receipts_tell_what_entries_have_in_common(site: Site) -> None:
    best = [scored(site, "ada", part(1000 * i, 1000 * i + 50), colours=8 - i) for i in range(4)]
    alike = scored(site, "grace", part(40, 90), colours=1)
    scored(site, "linus", part(0, 90), colours=5, rehearsal=True)
    site.score("linus", uids(5), colours=5)  # by a worker of before, who leaves no sketch
    mine = scored(site, "linus", part(30, 90), colours=2)
    told = [(other.submission, other.nearest, other.place, other.error) for other in site.receipt(mine.id).overlaps]
    assert told == [
        (alike.id, True, 7, 0.0), (best[0].id, False, 1, 0.0), (best[1].id, False, 2, 0.0), (best[2].id, False, 3, 0.0),
    ]  # fmt: skip
    found = {other.submission: other.jaccard for other in site.receipt(mine.id, name=None).overlaps}
    assert found[alike.id] == 50 / 60
    assert found[best[0].id] == 20 / 90
    page = site.http.get(f"/submissions/{mine.id}").text
    assert "In common with other entries" in page
    assert "83.3%" in page
    assert site.act("grace", alike.id, "withdraw").status_code == 200
    assert [other.nearest for other in site.receipt(mine.id).overlaps] == [True, False, False]


@ONLY_SQLITE
def test_taken_over_subsets_have_their_sketches(site: Site) -> None:
    first = scored(site, "ada", part(0, 50), colours=4)
    second = site.score("grace", part(0, 50), colours=4)
    assert [other.jaccard for other in site.receipt(second.id).overlaps] == [1.0]
    assert [other.submission for other in site.receipt(first.id).overlaps] == [second.id]
