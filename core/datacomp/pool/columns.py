"""The pack's columns of one metadata shard, group by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.pool import clusters, language, npz
from datacomp.pool.recipe import BASE, CLD3, CLUSTERS, LANGUAGE, WORDNET, Recipe
from datacomp.pool.text import Captions
from datacomp.problems import BadInput
from datacomp.uids import from_hex

if TYPE_CHECKING:
    import pyarrow as pa

NEEDED = ("uid", "text", "original_width", "original_height")
OWN = frozenset((
    "words", "characters", "tokens", "text_hash", "image_hash", "lang", "lang_probability", "lang_cld3", "wordnet_hit",
    "cluster", "uid_order", "uid_sorted", "tar", "image_offset", "image_size", "text_offset", "text_size",
    "json_size",
))  # fmt: skip
"""Names that the pack gives to what it computes."""
BATCH = 1 << 14
"""Rows of a metadata file in memory at a time."""
IMAGE_DIGITS = 16
"""Digits of a SHA-256 that identify an image: 64 bits."""
VOCABULARY = ".vocabulary"
"""`<column>.vocabulary` holds the texts behind the codes of a column, in a part."""
Columns = dict[str, npt.NDArray[Any]]
Batches = Iterator["pa.Table"]


def compute(path: Path, groups: Sequence[str], recipe: Recipe) -> dict[str, Columns]:
    """The columns of each group, all of shape (rows,). `BadInput` names the file and its column or row."""
    makers = {group: _MAKERS[group](path, recipe) for group in groups if group != CLUSTERS}
    for batch in _batches(path, _columns(path, groups) if makers else ["uid"]):
        for maker in makers.values():
            maker.add(batch)
    found = {group: maker.columns() for group, maker in makers.items()}
    if CLUSTERS in groups:
        found[CLUSTERS] = {"cluster": _clusters(path, recipe)}
    return found


def _batches(path: Path, columns: list[str]) -> Batches:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if not file.metadata.num_rows:
                yield file.schema_arrow.empty_table().select(columns)
            for batch in file.iter_batches(BATCH, columns=columns, use_threads=False):  # all cores have files
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BadInput:
    return BadInput.of("parquet-unreadable", f"not a readable parquet file: {error}", str(path), "download it again")


def _columns(path: Path, groups: Sequence[str]) -> list[str]:
    """What the groups read of a file, after a look at its schema."""
    if BASE not in groups:
        return ["text"]
    names = ["uid", "text", *numbers(path)]
    return [*names, "sha256"] if "sha256" in _schema(path).names else names


def _schema(path: Path) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def schema_names(path: Path) -> tuple[str, ...]:
    """All columns of a metadata file."""
    return tuple(_schema(path).names)


def numbers(path: Path) -> list[str]:
    """The numeric columns of a metadata file. `BadInput` when it lacks what every pool has, or names one as we do."""
    import pyarrow as pa

    schema = _schema(path)
    missing = [name for name in NEEDED if name not in schema.names]
    if missing:
        message = f"the file lacks {', '.join(missing)}"
        raise BadInput.of("parquet-columns", message, str(path), "DataComp's metadata has them")
    # A name that no expression could write, and that might not do as a file's, stays in the metadata alone.
    found = [
        f.name
        for f in schema
        if (pa.types.is_floating(f.type) or pa.types.is_integer(f.type)) and f.name.isidentifier() and f.name.isascii()
    ]
    taken = sorted(set(found) & set(OWN))
    if taken:
        message = f"the pack computes columns of its own named {', '.join(taken)}"
        raise BadInput.of("parquet-columns-taken", message, str(path), "rename them in the metadata")
    return found


class _Base:
    """uid, the metadata's numbers, figures of the caption, exact hashes."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path, self.names = path, numbers(path)
        self.uids: list[pa.Array] = []
        self.pieces: list[Columns] = []

    def add(self, batch: pa.Table) -> None:
        captions = Captions.of(batch.column("text"))
        piece = {name: _numbers(batch.column(name)) for name in self.names}
        piece["words"], piece["tokens"] = captions.words_and_tokens()
        piece |= {"characters": captions.characters(), "text_hash": captions.hashes()}
        if "sha256" in batch.column_names:
            piece["image_hash"] = Captions.of(batch.column("sha256")).hashes(IMAGE_DIGITS)
        self.pieces.append(piece)
        self.uids += batch.column("uid").chunks

    def columns(self) -> Columns:
        import pyarrow as pa

        try:
            uids = from_hex(pa.chunked_array(self.uids, pa.string()))
        except BadInput as error:
            places = (p.at(f"{self.path.name}: {p.where}") for p in error.problems)
            raise BadInput(*places) from error
        return {"uid": uids, **_joined(self.pieces)}


class _Language:
    """fastText's language, as codes into the shard's own vocabulary, and its probability."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        if recipe.language_model is None:
            raise ValueError("the recipe has no language model")
        self.model = tool(recipe.language_digest, recipe.language_model, language.load)
        self.codes: list[str] = []
        self.sure: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)]

    def add(self, batch: pa.Table) -> None:
        codes, sure = language.identify(self.model, _texts(batch))
        self.codes += codes
        self.sure.append(sure)

    def columns(self) -> Columns:
        return {**_coded("lang", self.codes), "lang_probability": np.concatenate(self.sure)}


class _Cld3:
    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.codes: list[str] = []

    def add(self, batch: pa.Table) -> None:
        self.codes += language.identify_cld3(_texts(batch))

    def columns(self) -> Columns:
        return _coded("lang_cld3", self.codes)


class _WordNetHit:
    def __init__(self, path: Path, recipe: Recipe) -> None:
        if recipe.wordnet is None:
            raise ValueError("the recipe has no WordNet")
        self.matcher = tool(recipe.wordnet.digest, recipe.wordnet, lambda wordnet: wordnet.load())
        self.hits = [np.empty(0, np.bool_)]

    def add(self, batch: pa.Table) -> None:
        self.hits.append(self.matcher.hits(_texts(batch)))

    def columns(self) -> Columns:
        return {"wordnet_hit": np.concatenate(self.hits)}


_MAKERS: dict[str, Any] = {BASE: _Base, LANGUAGE: _Language, CLD3: _Cld3, WORDNET: _WordNetHit}


def _clusters(path: Path, recipe: Recipe) -> npt.NDArray[np.int32]:
    if recipe.centroids is None:
        raise ValueError("the recipe has no centroids")
    beside = path.with_suffix(".npz")
    member = npz.members(beside).get(clusters.FEATURE) if beside.is_file() else None
    if member is None:
        message = f"clusters need the feature {clusters.FEATURE}, which this shard has not"
        raise BadInput.of("clusters-feature", message, where=str(beside), hint="download the .npz files")
    centroids = tool(recipe.centroids.digest, recipe.centroids, lambda found: found.load())
    return clusters.nearest(npz.map_member(beside, member), centroids)


_tools: dict[str, Any] = {}


def tool(digest: str, what: Any, load: Callable[[Any], Any]) -> Any:
    """A model, loaded once in every process."""
    if digest not in _tools:
        _tools[digest] = load(what)
    return _tools[digest]


def _texts(batch: pa.Table) -> list[str]:
    return [text or "" for text in batch.column("text").to_pylist()]


def _joined(pieces: list[Columns]) -> Columns:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]} if pieces else {}


def _coded(name: str, codes: list[str]) -> Columns:
    names = sorted(set(codes) - {""})
    place = {code: number for number, code in enumerate(names)} | {"": -1}
    return {name: np.array([place[code] for code in codes], np.int16), name + VOCABULARY: np.array(names, "U16")}


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column as NumPy has it: null becomes NaN, or 0 in integers."""
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        return np.asarray(column.fill_null(0).to_numpy())
    array: npt.NDArray[Any] = column.to_numpy()
    return array.astype(np.float32) if array.dtype == np.float16 else array
