"""The filter contract and the engine that runs filters: the same code on a laptop, in the sandbox and in tests."""

from datacomp.filtering.contract import Batch, ColumnStats, Filter
from datacomp.filtering.engine import Scores, score_pool
from datacomp.filtering.load import describe_source, load_file, load_filter, named_filters, parse_filter_source
from datacomp.filtering.selection import Selection, select

__all__ = [
    "Batch",
    "ColumnStats",
    "Filter",
    "Scores",
    "Selection",
    "describe_source",
    "load_file",
    "load_filter",
    "named_filters",
    "parse_filter_source",
    "score_pool",
    "select",
]
