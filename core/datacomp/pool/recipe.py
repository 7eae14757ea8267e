"""What a pack is to hold beside the metadata's own numbers, and what that is computed with.

Columns come in groups: `base` (always), and one for every tool. A group is computed, kept and named by a digest of its
own, so that asking for another later leaves the rest as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from datacomp.digests import digest_file, digest_json
from datacomp.pool import language
from datacomp.pool.clusters import Centroids
from datacomp.pool.wordnet import WordNet
from datacomp.problems import BadInput

BASE = "base"
BASE_VERSION = 1
"""Part of the digest of `base`: another value when its columns come to mean something else."""
LANGUAGE, CLD3, WORDNET, CLUSTERS = "language", "cld3", "wordnet", "clusters"
CLD3_PACKAGES = ("cld3-py", "gcld3")
"""Distributions that carry Google's CLD3 under the module name `gcld3`."""


@dataclass(frozen=True)
class Extras:
    """What to compute, by the files it needs."""

    language: bool = True
    """fastText's language of every caption: columns `lang`, `lang_probability`."""
    language_model: Path | None = None
    """Default: the packaged lid.176.ftz."""
    cld3: bool = False
    """CLD3's language of every caption: column `lang_cld3`."""
    wordnet: Path | None = None
    synsets: Path | None = None
    """A dictionary and a list of synsets: column `wordnet_hit`."""
    centroids: Path | None = None
    """An npy of centroids over `l14_img`: column `cluster`."""

    def recipe(self) -> Recipe:
        """Check all files and name them by digests. `BadInput` names what is missing."""
        if (self.wordnet is None) != (self.synsets is None):
            hint = "give both --wordnet DIR and --synsets FILE"
            raise BadInput.of("wordnet-incomplete", "a dictionary goes with a list of synsets", hint=hint)
        model = (self.language_model or language.packaged_model()) if self.language else None
        if model is not None and not model.is_file():
            raise BadInput.of("language-model-missing", "there is no such language model", where=str(model))
        return Recipe(
            model,
            digest_file(model) if model else "",
            _cld3_version() if self.cld3 else "",
            WordNet.at(self.wordnet, self.synsets) if self.wordnet and self.synsets else None,
            Centroids.at(self.centroids) if self.centroids else None,
        )


@dataclass(frozen=True)
class Recipe:
    """The tools of one ingestion; picklable, so that every process loads its own."""

    language_model: Path | None
    language_digest: str
    cld3_version: str
    wordnet: WordNet | None
    centroids: Centroids | None

    @property
    def groups(self) -> dict[str, str]:
        """Each group with the digest of what it is computed with."""
        found = {BASE: digest_json([BASE, BASE_VERSION])}
        if self.language_model is not None:
            found[LANGUAGE] = self.language_digest
        if self.cld3_version:
            found[CLD3] = digest_json([CLD3, self.cld3_version])
        if self.wordnet is not None:
            found[WORDNET] = self.wordnet.digest
        if self.centroids is not None:
            found[CLUSTERS] = self.centroids.digest
        return found


def _cld3_version() -> str:
    for name in CLD3_PACKAGES:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    hint = "pip install cld3-py"
    raise BadInput.of("cld3-missing", "no package with CLD3 is installed", hint=hint)
