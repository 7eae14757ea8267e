"""Image-based filter: images in the clusters of a target set, here ImageNet-1k's, with plain English captions.

DataComp's baseline of that name (Gadre et al. 2023, arXiv:2304.14108): the centroid nearest to an image (inner product
of CLIP ViT-L/14 features) is nearest to some target image as well; fastText's lid.176 says `en`; the caption has more
than one fastText token and more than five characters. The column `cluster` comes from
`datacomp pool ingest DIR --centroids CENTROIDS.npy`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from datacomp.digests import digest_file
from datacomp.filtering import Filter
from datacomp.pool import Pool
from datacomp.pool.clusters import nearest, read_vectors
from datacomp.pool.recipe import CLUSTERS
from datacomp.problems import BadInput


class ImageBased(Filter):
    """Keeps rows in the target images' clusters. `centroids` must be the file that the pool was ingested with."""

    columns: tuple[str, ...] = ("lang", "tokens", "characters", "cluster")

    def __init__(self, targets: str, centroids: str) -> None:
        self.targets, self.centroids = Path(targets), Path(centroids)

    def select(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """Whether each row is kept."""
        wanted = target_clusters(pool, self.targets, self.centroids)
        kept = pool.is_text("lang", "en")
        tokens, characters, cluster = (pool.column(name) for name in ImageBased.columns[1:])
        for rows in pool.blocks():
            kept[rows] &= (tokens[rows] > 1) & (characters[rows] > 5) & wanted[cluster[rows]]
        return kept


def target_clusters(pool: Pool, targets: Path, centroids: Path) -> npt.NDArray[np.bool_]:
    """Which clusters are nearest to some target image, shape (clusters,). `BadInput` for files that do not fit."""
    vectors = read_vectors(centroids, "centroids").astype(np.float32)
    if digest_file(centroids) != pool.manifest.made_with.get(CLUSTERS):
        hint = f"give the same file, or run: datacomp pool ingest {pool.directory} --centroids {centroids}"
        raise BadInput.of("centroids-other", "the pool was ingested with other centroids", str(centroids), hint)
    wanted = np.zeros(len(vectors), np.bool_)
    wanted[nearest(read_vectors(targets, "targets"), vectors)] = True
    return wanted
