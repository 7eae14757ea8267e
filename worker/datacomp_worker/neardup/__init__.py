"""Near-duplicates: exact decisions over candidates found in k-means cells."""

from datacomp_worker.neardup.cells import Cells
from datacomp_worker.neardup.engine import Decision, deduplicate
from datacomp_worker.neardup.keep import RULES
from datacomp_worker.neardup.recall import Recall, wilson

__all__ = ["RULES", "Cells", "Decision", "Recall", "deduplicate", "wilson"]
