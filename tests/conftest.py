"""Which tests may run side by side: a file's tests stay together, and so do all that share one running platform."""

from pathlib import Path

import pytest

PLATFORM = Path(__file__).parent / "e2e"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        group = "platform" if PLATFORM in item.path.parents else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    # The platform's tests take longest, mostly waiting: they begin first and the others run beside them.
    items.sort(key=lambda item: PLATFORM not in item.path.parents)
