"""Every kind of bad input ends as `rejected` or `failed` with a typed code, the position, the cause and a hint."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from e2e_place import Place

from datacomp import uids as u
from datacomp.pool import Pool

pytestmark = pytest.mark.e2e

HEAD = """from datacomp.filtering import Filter

class F(Filter):
    columns = ("clip_l14_similarity_score",)
    rule = "score > 0"
"""
SCORE = "    def score(self, batch):\n"


def sorted_uids(place: Place) -> np.ndarray:
    return np.array(Pool.open(place.pool).sorted_uids)


def wrong_dtype(place: Place, path: Path) -> None:
    np.save(path, np.arange(10))


def unsorted(place: Place, path: Path) -> None:
    np.save(path, sorted_uids(place)[::-1])


def unknown(place: Place, path: Path) -> None:
    u.write_subset(path, u.sort(np.concatenate([sorted_uids(place)[:5], u.from_hex(["ab" * 16])])))


def empty(place: Place, path: Path) -> None:
    np.save(path, sorted_uids(place)[:0])


def truncated(place: Place, path: Path) -> None:
    np.save(path, sorted_uids(place))
    path.write_bytes(path.read_bytes()[:-9])


def objects(place: Place, path: Path) -> None:
    np.save(path, np.array([{"a": 1}, None], object), allow_pickle=True)


@pytest.mark.parametrize(
    ("make", "code", "where"),
    [
        (wrong_dtype, "uids-dtype", "header"),
        (unsorted, "uids-unsorted", "row 1"),
        (unknown, "uids-unknown", "row "),
        (empty, "uids-empty", ""),
        (truncated, "uids-truncated", ""),
        (objects, "uids-object", "header"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_bad_uids_are_refused_by_check_and_by_the_platform(
    place: Place, make: Callable[[Place, Path], None], code: str, where: str
) -> None:
    path = place.home / f"{code}.npy"
    make(place, path)
    checked = place.datacomp("check", str(path), "--scale", "tiny")
    assert checked.returncode == 1
    assert code in checked.stderr
    assert "hint:" in checked.stderr
    failed_with(place, path, "rejected", code, where)


@pytest.mark.parametrize(
    ("source", "state", "code", "where"),
    [
        ("def broken(:\n", "rejected", "filter-syntax", ".py:1:"),
        (HEAD + SCORE + "        return 1 / 0\n", "failed", "filter-raised", ".py:7, in score"),
        (
            HEAD + SCORE + "        print('x' * 10**9)\n        return batch['clip_l14_similarity_score']\n",
            "failed",
            "filter-output-flood",
            "",
        ),
        (HEAD + SCORE + "        import time; time.sleep(10**6)\n", "failed", "filter-timeout", ""),
        (
            HEAD + SCORE + "        import socket; socket.create_connection(('192.0.2.1', 80))\n        return [1]\n",
            "failed",
            "filter-raised",
            ".py:7, in score",
        ),
    ],
    ids=["syntax", "raises", "prints a gigabyte", "never returns", "opens a socket"],
)
def test_bad_code_is_refused(place: Place, source: str, state: str, code: str, where: str) -> None:
    path = place.home / f"bad_{abs(hash(source))}.py"
    path.write_text(source)
    failed_with(place, path, state, code, where)


def failed_with(place: Place, path: Path, state: str, code: str, where: str) -> None:
    receipt = place.submit(str(path), "--scale", "tiny")
    watched = place.datacomp("status", receipt["id"], "--watch")
    assert watched.returncode == 1, watched.stdout
    assert code in watched.stdout
    final = place.client.submission(receipt["id"])
    assert final.state == state, final
    assert final.failure is not None
    (problem, *_) = final.failure.problems
    assert problem.code == code
    assert where in (problem.where or ""), problem
    assert problem.message
    assert problem.hint
    started = time.monotonic()
    page = place.client._link.request("GET", f"/submissions/{receipt['id']}").text
    assert code in page
    assert time.monotonic() - started < 5
