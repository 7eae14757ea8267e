from pathlib import Path

import pytest
from small_pool import SmallPool

from datacomp.pool import Pool, ingest


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """A small ingested pool; not to be changed."""
    directory: Path = tmp_path_factory.mktemp("pool")
    SmallPool().write(directory)
    return ingest(directory, processes=1)
