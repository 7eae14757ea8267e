"""Work shared out by blocks: as many threads as FAISS would use, each with its own products."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """function(item) of each item, in order; few results wait at a time. NumPy gives up Python's lock where the time
    goes."""
    threads = count()
    if threads == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(_pool(os.getpid(), threads).submit(function, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def count() -> int:
    """Threads: OMP_NUM_THREADS, or the processors that this process may use."""
    import faiss

    return int(faiss.omp_get_max_threads())


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Matrix products on the thread that asks for them: small ones cost more on several, which wait for each other by
    spinning."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Kept for the process: starting threads costs more than a small block."""
    return ThreadPoolExecutor(threads, thread_name_prefix="neardup")
