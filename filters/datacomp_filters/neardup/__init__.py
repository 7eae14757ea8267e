"""Near-duplicates: exact decisions over candidates found in k-means cells."""

from datacomp_filters.neardup.cells import Cells
from datacomp_filters.neardup.engine import Decision, deduplicate
from datacomp_filters.neardup.keep import RULES
from datacomp_filters.neardup.recall import Recall, wilson

__all__ = ["RULES", "Cells", "Decision", "Recall", "deduplicate", "wilson"]
