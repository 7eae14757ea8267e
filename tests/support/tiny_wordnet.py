"""A WordNet of a few words in WordNet's own file format, readable by any reader of the real one."""

from __future__ import annotations

from pathlib import Path

HEADER = "  1 A few words in the format of WordNet 3.0 Copyright notice of nobody.  \n"
FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
MEANINGS = {
    # By part of speech, a line each in the data file: the first verb lies at the first noun's offset.
    "n": (
        "dog",
        "house",
        "garden",
        "park",
        "shoe",
        "goose",
        "axe",
        "man",
        "car",
        "ox",
        "mouse",
        "city",
        "church",
        "axis",
    ),
    "v": ("run", "walk", "see", "dog", "fly", "buy", "get", "be"),
    "a": ("red", "old", "good", "big", "free"),
    "r": ("past", "near", "well"),
}
SENSES = {("n", "park"): ("garden", "park"), ("v", "get"): ("buy", "get"), ("v", "see"): ("see", "get")}
"""Words of several meanings, most frequent first; every other word has the one that bears its name."""
EXCEPTIONS = {
    "n": {"geese": "goose", "axes": "axis axe", "mice": "mouse", "oxen": "ox", "ran": "nothing"},
    "v": {"ran": "run", "flew": "fly", "was": "be", "is": "be"},
    "a": {"better": "good", "bigger": "big"},
    "r": {"better": "well"},
}


def _synset(pos: str, word: str, offset: int) -> str:
    frames = " 01 + 01 00" if pos == "v" else ""
    return f"{offset:08d} 03 {pos} 01 {word} 0 000{frames} | {word}  \n"


def _data(pos: str) -> tuple[str, dict[str, int]]:
    text, offsets = HEADER, {}
    for word in MEANINGS[pos]:
        offsets[word] = len(text)
        text += _synset(pos, word, len(text))
    return text, offsets


def _index(pos: str, offsets: dict[str, int]) -> str:
    lines = []
    for word in sorted(MEANINGS[pos]):
        places = " ".join(f"{offsets[sense]:08d}" for sense in SENSES.get((pos, word), (word,)))
        count = len(SENSES.get((pos, word), (word,)))
        lines.append(f"{word} {pos} {count} 0 {count} 0 {places}  \n")
    return HEADER + "".join(lines)


def write_wordnet(directory: Path) -> None:
    """Write index, data and exception files, and those that readers want to see beside them."""
    directory.mkdir(parents=True)
    for pos, name in FILES.items():
        text, offsets = _data(pos)
        (directory / f"data.{name}").write_text(text)
        (directory / f"index.{name}").write_text(_index(pos, offsets))
        (directory / f"{name}.exc").write_text("".join(f"{a} {b}\n" for a, b in sorted(EXCEPTIONS[pos].items())))
    (directory / "lexnames").write_text("".join(f"{i:02d}\tnoun.kind{i}\t1\n" for i in range(45)))
    for name in ("cntlist.rev", "index.sense"):
        (directory / name).write_text("")


SYNSETS = tuple(f"n{_data('n')[1][word]:08d}" for word in ("dog", "garden", "goose", "axe", "man", "mouse"))
"""The list that captions are matched against, in the form of ImageNet-21k's. `dog` lies where the verb `run` does."""
