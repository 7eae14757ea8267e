"""Cluster-balanced sampling with a cap: captions matched against a list of entries, common entries thinned.

MetaCLIP (Xu et al. 2023, arXiv:2309.16671): an entry matched by `count` captions is drawn with min(1, cap / count), and
a pair stays when any of its entries is drawn; pairs without an entry go. Entries match as in the authors' code: between
spaces, case and all, where commas, `. ; : ? !` and back-ticks stand alone, and tabs and line ends are spaces.
`ignore_case` folds both sides. One draw per pair has the probability that any of its entries is drawn. The default cap
is the paper's for 1.6 billion pairs, of which 400 million stayed: take less for less.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp_filters.drawing import uniforms

_MARKS = str.maketrans({mark: f" {mark} " for mark in ",.;:?!`"} | dict.fromkeys("\t\n\r", " "))


class ClusterBalanced(Filter):
    """Keeps pairs by their captions' entries; `entries` is a file of one entry a line, or a JSON list of them."""

    columns = ("text", "uid")

    def __init__(self, entries: str, cap: int = 20000, seed: int = 0, ignore_case: bool = False) -> None:
        if cap < 1:
            raise BadInput.of("filter-parameter", f"a cap is 1 or more, not {cap}", "cap")
        self.entries = read_entries(Path(entries), ignore_case)
        self.longest = max(len(words) for words in self.entries)
        self.cap, self.seed, self.ignore_case = cap, seed, ignore_case

    def select(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """Whether each pair is drawn."""
        rows, found = [], []
        for part in pool.shard_rows():
            texts = pool.metadata_column("text", part.shard).to_pylist()
            matches = [self.matches(text or "") for text in texts]
            lengths = np.fromiter((len(m) for m in matches), np.int64, len(matches))
            rows.append(np.repeat(np.arange(part.start, part.stop), lengths))
            found.append(np.fromiter((e for m in matches for e in sorted(m)), np.int32, int(lengths.sum())))
        row, entry = (np.concatenate(parts) if parts else np.empty(0, np.int64) for parts in (rows, found))
        counts = np.bincount(entry, minlength=len(self.entries))
        chance = np.minimum(1, self.cap / np.maximum(counts, 1))
        with np.errstate(divide="ignore"):  # an entry that is surely drawn
            missed = np.bincount(row, np.log1p(-chance)[entry], minlength=pool.rows)
        return np.asarray(uniforms(np.asarray(pool.uids), self.seed) < -np.expm1(missed))

    def matches(self, text: str) -> set[int]:
        """The numbers of the entries in a caption."""
        # Between single spaces, as a search for " entry " in the text finds them.
        words = (text.casefold() if self.ignore_case else text).translate(_MARKS).split(" ")
        runs = (
            tuple(words[i : i + n]) for i in range(len(words)) for n in range(1, min(self.longest, len(words) - i) + 1)
        )
        return {self.entries[run] for run in runs if run in self.entries}


def read_entries(path: Path, ignore_case: bool = False) -> dict[tuple[str, ...], int]:
    """Entries as words, numbered. `BadInput` when the file holds none."""
    try:
        text = path.read_text("utf-8")
        lines: Iterable[object] = (
            json.loads(text) if path.suffix == ".json" else [line.strip() for line in text.splitlines()]
        )
    except (OSError, ValueError) as error:
        raise BadInput.of("entries-unreadable", f"cannot read the entries: {error}", where=str(path)) from error
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadInput.of("entries-format", "the entries are not a list of texts", where=str(path))
    entries = (line.casefold() if ignore_case else line for line in lines if line.strip())
    words = dict.fromkeys(tuple(entry.split(" ")) for entry in entries)
    if not words:
        raise BadInput.of("entries-empty", "there are no entries", where=str(path), hint="write one a line")
    return {entry: number for number, entry in enumerate(words)}
