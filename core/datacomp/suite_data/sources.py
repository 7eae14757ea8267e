"""Where the data of DataComp's tasks is published, as its `download_evalsets.py` has it (commit 4a8df19).

Most tasks are webdatasets of their own. Retrieval and WinoGAViL are tables, of which the hub keeps copies in Parquet;
they are written anew as webdatasets here (`datacomp.suite_data.tables`).
"""

from __future__ import annotations

from dataclasses import dataclass

from datacomp.suite import Kind, Task

HUB = "https://huggingface.co"
OWNER, OWNER_OF_TABLES = "djghosh", "nlphuji"
TABLES = frozenset({Kind.RETRIEVAL, Kind.WINOGAVIL})
PARQUET = "refs/convert/parquet"
"""The hub's own branch with a dataset's tables in Parquet."""
UNPREFIXED = ("fairness/",)
"""Keys that are published without their prefix."""


@dataclass(frozen=True)
class Repository:
    """A dataset's place on the hub."""

    id: str
    revision: str
    table: bool

    @classmethod
    def of(cls, task: Task, revision: str = "main") -> Repository:
        """Of a task's data."""
        key = task.data or task.key
        if task.kind in TABLES:
            return cls(f"{OWNER_OF_TABLES}/{key.rpartition('/')[2]}", PARQUET, table=True)
        for prefix in UNPREFIXED:
            key = key.removeprefix(prefix)
        return cls(f"{OWNER}/wds_{key.replace('/', '-')}_test", revision, table=False)

    def wants(self, name: str, *, train: bool) -> bool:
        """Whether a file of the repository belongs to the task's data."""
        if self.table:
            return name.endswith(".parquet") and "test" in name.split("/")[:-1]
        folder, _, _ = name.rpartition("/")
        if not folder:
            return name.endswith(".txt")
        return folder == "test" or (train and folder == "train")
