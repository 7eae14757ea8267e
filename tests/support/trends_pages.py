"""The page of trends in its states: full, empty, with hostile names."""

from page_examples import HOSTILE, NOW, site

from datacomp.messages import ScalePoint, Series, TrendsOut
from datacomp.published.tables import TABLE_3, read_published
from datacomp.scales import SCALES
from datacomp.scaling.metrics import Metric
from datacomp.scaling.overview import overview
from datacomp.scaling.sources import published_series
from datacomp.scaling.trends import Question
from datacomp.suite import load_suite
from datacomp_server.pages.contexts import Page
from datacomp_server.pages.trends import build
from datacomp_server.trends.service import Asked

SUITE = load_suite("datacomp-38")


def own(method: str, **scores: float) -> Series:
    points = [
        ScalePoint(
            scale=scale, score=score, macs=SCALES[scale].train_macs, samples_seen=SCALES[scale].samples_seen, at=NOW,
            model=SCALES[scale].model, dataset_size=1e6, submission="a1b2c3d4e5f60718",
        )
        for scale, score in scores.items()
    ]  # fmt: skip
    return Series(method=method, by="ada", points=points)


def trends_pages() -> dict[str, Page]:
    papers = published_series(read_published(TABLE_3), Metric())
    mine = [own(f"filter {n}", small=0.1 + n / 50, medium=0.3 - n / 50, large=0.4 + n / 50) for n in range(3)]
    question = Question(Metric(), chance=0.09)
    full = overview([*mine, *papers, own("two scales", small=0.1, medium=0.2)], question, suite=SUITE.id, most=8)
    hostile = overview([own(HOSTILE, small=0.1, medium=0.2)], question, suite=SUITE.id)
    empty = TrendsOut(
        suite="", metric="average", x="macs", agreements=[], trends=[], crossings=[], coverage=full.coverage.model_copy(
            update={"forecasts": 0, "inside": 0, "mean_miss": None}
        ), published_coverage=full.coverage.model_copy(update={"forecasts": 0, "inside": 0, "mean_miss": None}),
    )  # fmt: skip
    place = site("/trends")
    return {
        "trends": build(place, Asked(), full.model_copy(update={"suites": [SUITE.id, "tiny@1"]}), SUITE),
        "trends-hostile": build(place, Asked(method=HOSTILE, x="samples"), hostile, SUITE),
        "trends-empty": build(site("/trends", name=None), Asked(), empty, None),
        "trends-unknown": build(place, Asked(method="nobody", metric="task:cifar10"), empty, SUITE),
    }
