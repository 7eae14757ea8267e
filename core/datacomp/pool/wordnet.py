"""Whether a caption names something that a list of WordNet synsets holds, read from WordNet's own dictionary files.

A word counts by its *first* synset: noun before verb before adjective before adverb, most frequent sense first,
inflected forms by WordNet's exception lists and endings. Only the synset's offset is compared with the list, whatever
the part of speech: DataComp's `text_based` baseline does so (verb offsets can equal noun offsets), and so do we.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datacomp.digests import digest_file, digest_json
from datacomp.problems import BadInput

PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
ENDINGS = {
    "noun": "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    "verb": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "adj": "er: est: er:e est:e",
    "adv": "",
}
"""WordNet's rules of detachment (morphy), an ending and what stands for it, in the order in which they are tried."""


@dataclass(frozen=True)
class _PartOfSpeech:
    offsets: dict[str, int]
    """Each lemma's first synset."""
    exceptions: dict[str, list[str]]
    endings: list[tuple[str, str]]

    def first(self, word: str) -> int | None:
        """The first synset of a word or of what it is a form of."""
        if word in self.exceptions:
            return self._known([word, *self.exceptions[word]])
        forms = self._shortened([word])
        found = self._known([word, *forms])
        while found is None and forms:
            forms = self._shortened(forms)
            found = self._known(forms)
        return found

    def _known(self, forms: list[str]) -> int | None:
        return next((self.offsets[form] for form in forms if form in self.offsets), None)

    def _shortened(self, forms: list[str]) -> list[str]:
        # Without repeats: they would double with every ending of a word made of endings.
        return list(
            dict.fromkeys(
                form.removesuffix(ending) + instead
                for form in forms
                for ending, instead in self.endings
                if form.endswith(ending)
            )
        )


@dataclass(frozen=True)
class WordNet:
    """A dictionary and the list of synsets to match; picklable, so that every process loads its own."""

    directory: Path
    synsets: Path
    digest: str

    @classmethod
    def at(cls, directory: Path, synsets: Path) -> WordNet:
        """Name both by a digest. `BadInput` for files that are missing."""
        files = [directory / f"index.{name}" for name in PARTS_OF_SPEECH]
        files += [directory / f"{name}.exc" for name in PARTS_OF_SPEECH]
        missing = [path.name for path in files if not path.is_file()]
        if missing:
            hint = "give WordNet's dictionary, for instance /usr/share/wordnet (Debian's wordnet-base)"
            raise BadInput.of("wordnet-missing", f"there is no {', '.join(missing)}", where=str(directory), hint=hint)
        if not synsets.is_file():
            hint = "give a file with one synset a line, such as n02084071"
            raise BadInput.of("synsets-missing", "there is no such list", where=str(synsets), hint=hint)
        return cls(directory, synsets, digest_json([digest_file(path) for path in (*files, synsets)]))

    def load(self) -> Matcher:
        """Read everything. `BadInput` names file and line of what cannot be read."""
        return Matcher(tuple(_read(self.directory, name) for name in PARTS_OF_SPEECH), _read_synsets(self.synsets))


@dataclass(frozen=True)
class Matcher:
    """Matches captions."""

    parts: tuple[_PartOfSpeech, ...]
    wanted: frozenset[int]
    seen: dict[str, bool] = field(default_factory=dict)
    """Words that were looked up: captions repeat them."""

    def hits(self, captions: list[str]) -> npt.NDArray[np.bool_]:
        """Whether some word of each caption is in the list, shape (len(captions),). Words are `caption.split()`."""
        return np.array([any(map(self._wanted, caption.split())) for caption in captions], np.bool_)

    def first_synset(self, word: str) -> int | None:
        """Offset of a word's first synset; None for a word that WordNet lacks."""
        word = word.lower()
        return next((found for part in self.parts if (found := part.first(word)) is not None), None)

    def _wanted(self, word: str) -> bool:
        known = self.seen.get(word)
        if known is None:
            if len(self.seen) > MOST_SEEN:
                self.seen.clear()
            known = self.seen[word] = self.first_synset(word) in self.wanted
        return known


MOST_SEEN = 1_000_000
"""Words kept in memory."""


def _read(directory: Path, name: str) -> _PartOfSpeech:
    offsets: dict[str, int] = {}
    path = directory / f"index.{name}"
    for number, line in enumerate(_lines(path), 1):
        if line.startswith(" "):  # the licence
            continue
        fields = line.split()
        try:
            # lemma pos synset_cnt p_cnt symbols... sense_cnt tagsense_cnt offsets...
            offsets[fields[0]] = int(fields[6 + int(fields[3])])
        except (ValueError, IndexError) as error:
            where = f"{path}: line {number}"
            raise BadInput.of("wordnet-damaged", "not a line of WordNet's index", where=where) from error
    exceptions = {(fields := line.split())[0]: fields[1:] for line in _lines(directory / f"{name}.exc") if line.strip()}
    rules = [(ending, instead) for ending, _, instead in (rule.partition(":") for rule in ENDINGS[name].split())]
    return _PartOfSpeech(offsets, exceptions, rules)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput.of("wordnet-damaged", f"cannot be read: {error}", where=str(path)) from error


def _read_synsets(path: Path) -> frozenset[int]:
    found = set()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        name = line.strip()
        if not name[1:].isdecimal():
            message = f"{name[:40]!r} is not a synset such as n02084071"
            raise BadInput.of("synsets-malformed", message, where=f"{path}: line {number}")
        found.add(int(name[1:]))
    return frozenset(found)
