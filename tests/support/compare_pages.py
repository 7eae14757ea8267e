"""The comparison of entries as a page, in every state."""

from page_examples import DIGEST, HOSTILE, PROBLEMS, site
from pool_here import KEPT

from datacomp.messages import (
    ComparedEntry,
    CompareOut,
    Comparison,
    Difference,
    GroupDifference,
    SubsetOverlap,
    TaskDifference,
)
from datacomp_server.pages.compare import ComparePage
from datacomp_server.pages.contexts import Page
from datacomp_server.pages.kept import Pair, together

BETTER = Difference(value=0.021, lo=0.009, hi=0.033, differs=True, paired=True)
EQUAL = Difference(value=-0.002, lo=-0.012, hi=0.008, paired=True)
NOTHING = Difference(value=None)


def entry(name: str, method: str, *, ranked: bool = True) -> ComparedEntry:
    place = (2, 4) if ranked else (None, None)
    return ComparedEntry(
        submission=name, url="", method=method, participant="ada", team=None, board="filtering-tiny", rank_lo=place[0],
        rank_hi=place[1], average=0.3, average_lo=0.29, average_hi=0.31, main=None, seeds=1, subset_size=4912,
        subset_digest=DIGEST,
    )  # fmt: skip


def comparison(second: str, *, told: bool) -> Comparison:
    digits = TaskDifference(task="tiny/digits", name=HOSTILE, group="vtab", counted=told, first=0.3, second=0.321,
                            difference=BETTER if told else BETTER.model_copy(update={"paired": False}))  # fmt: skip
    return Comparison(
        first="a1", second=second, average=BETTER if told else NOTHING, other_tasks=EQUAL, main=NOTHING,
        groups=[GroupDifference(group="vtab", first=0.3, second=0.298, difference=EQUAL)], tasks=[digits],
        overlap=SubsetOverlap(both=4000, only_first=912, only_second=100, jaccard=0.798) if told else None,
        overlap_note="" if told else "a subset is no longer stored",
    )  # fmt: skip


def compare_pages() -> dict[str, Page]:
    """Entries side by side, the empty form, and what cannot be compared."""
    entries = [entry("a1", "Caption agreement"), entry("b2", HOSTILE), entry("c3", "No filter", ranked=False)]
    found = CompareOut(
        suite="tiny@1", suite_digest=DIGEST, withheld=["tiny/shift-grey"], entries=entries,
        comparisons=[comparison("b2", told=True), comparison("c3", told=False)],
    )  # fmt: skip
    place = site("/compare")
    kept = together([(each.submission, each.method, KEPT) for each in entries])
    alone = {"b2": ([Pair("0" * 32, HOSTILE, None)], [])}
    return {
        "compare": ComparePage(
            site=place, asked="a1,b2,c3", found=found, labels={"vtab": "VTAB"}, kept=kept, alone=alone
        ),
        "compare-empty": ComparePage(site=place, asked="", found=None),
        "compare-problems": ComparePage(site=place, asked=HOSTILE, found=None, problems=PROBLEMS),
    }
