"""What scores at several scales tell: trends, forecasts, agreement of rankings, and rows copied from papers."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from datacomp.messages.words import Message, Track


class PublishedRow(Message):
    """A row of a paper's table: its authors' word, not run here, never ranked."""

    track: Track = Track.FILTERING
    scale: str
    method: str
    suite: str
    """Name of the evaluation suite, without a version: papers do not tell which version they ran."""
    dataset_size: int | None = None
    samples_seen: int
    train_macs: float | None
    """None where another architecture than the scale's was trained and the table does not say at what cost."""
    average: float | None = None
    main: float | None = None
    groups: dict[str, float] = Field(default_factory=dict)
    tasks: dict[str, float] = Field(default_factory=dict)
    source: str
    """Paper and table, as in `DataComp arXiv:2304.14108 Table 3`."""
    citation: str = ""
    note: str = ""
    """What is known to be wrong or doubtful about the row."""
    same_recipe: bool = True
    """Whether the scale's architecture saw the scale's samples; else it is no entry that a board could have."""


class PublishedOut(Message):
    """Rows of papers beside a board."""

    board: str
    rows: list[PublishedRow]


class ScalePoint(Message):
    """One method's score at one scale."""

    scale: str
    score: float
    macs: float
    """Multiply-accumulates of the training."""
    samples_seen: float
    model: str = ""
    seeds: int = 1
    deviation: float | None = None
    """How far seeds lie apart on its board, as a standard deviation; None for the default."""
    dataset_size: float | None = None
    """Samples in the subset."""
    at: datetime | None = None
    """Since when the score is known."""
    submission: str | None = None
    source: str = ""


class Series(Message):
    """One method's scores, the smallest scale first."""

    method: str
    by: str = ""
    """Participant or team."""
    published: bool = False
    points: list[ScalePoint]


class Figure(Message):
    """A value with its 95% interval."""

    value: float
    lo: float
    hi: float


class Caution(Message):
    """Why a trend should be read with care. `code` is stable, for programs."""

    code: str
    text: str


class Forecast(Message):
    """The score expected one scale up: an extrapolated value, not a measured one."""

    scale: str
    macs: float
    samples_seen: float
    score: float
    lo: float
    hi: float
    """95% interval."""
    alternatives: dict[str, float] = Field(default_factory=dict)
    """What other laws expect."""
    deviations: dict[str, float] = Field(default_factory=dict)
    """What the interval is made of, as standard deviations of the logarithm of the error: `seeds`, `bootstrap`,
    `laws`, `back_test`."""


class TrendOut(Message):
    """One method across scales. `law` is None at a single scale: nothing can be said."""

    series: Series
    law: str | None = None
    parameters: dict[str, float] = Field(default_factory=dict)
    """Of error = A (C + B)^-alpha + E; C in the unit asked for. B and E are absent where the law has none."""
    exponent: Figure | None = None
    fit_error: float | None = None
    """Root mean square miss of the fit, in the logarithm of the error; None where no goodness of fit is possible."""
    note: str = ""
    forecast: Forecast | None = None
    cautions: list[Caution] = Field(default_factory=list)


class AgreementOut(Message):
    """How well the order of methods at a small scale tells their order at a large one."""

    small: str
    large: str
    methods: int
    pairs: int
    """Pairs of methods whose scores differ at the large scale."""
    spearman: Figure
    kendall: Figure
    pairwise: Figure
    """Share of pairs in the same order at both scales; equal scores at the small one count one half."""


class Crossing(Message):
    """Two methods whose fitted curves change places."""

    first: str
    """Ahead below the crossing."""
    second: str
    x: float
    """Where, in the unit asked for."""
    between: str
    """In words: between which scales."""
    measured: bool
    """Whether the scores on both sides say so; else the fitted curves alone do."""


class CoverageOut(Message):
    """How forecasts did that could be made before the larger scale's score was known: of the methods at most scales."""

    forecasts: int
    inside: int
    """So many scores fell into the 95% interval."""
    mean_miss: float | None
    """Mean absolute miss, in score."""


class TrendsOut(Message):
    """Everything that a page of trends shows: ranking evidence first, extrapolated values second."""

    track: Track = Track.FILTERING
    suite: str
    metric: str
    x: str
    """`macs` or `samples`."""
    agreements: list[AgreementOut]
    """Of entries that were run here."""
    published_agreements: list[AgreementOut] = Field(default_factory=list)
    trends: list[TrendOut]
    left_out: int = 0
    """Methods that are not shown, because there are too many."""
    crossings: list[Crossing]
    coverage: CoverageOut
    """Of entries that were run here, by the dates of their scores."""
    published_coverage: CoverageOut
    """Of published rows, as if they had come in by scale. The forecasts' errors were measured on the same paper's
    tables, so that this is no independent check."""
    suites: list[str] = Field(default_factory=list)
    """The suites that this track has boards of."""
