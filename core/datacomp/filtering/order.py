"""In which order a filter looks at a pool's rows: whatever the order, it keeps the same."""

from __future__ import annotations

from collections.abc import Iterable

from datacomp.filtering.expression import Call, parse, walk
from datacomp.filtering.functions import function_of
from datacomp.filtering.parameters import plain_names
from datacomp.pool import Pool
from datacomp.pool.byuid import in_uid_order


def best_order(pool: Pool, rule: str, columns: Iterable[str] = ()) -> Pool:
    """The pool with its rows in the order of uids, where the rule (and a filter of these columns) reads nothing but
    what is at hand in that order; else the pool as it is. Subsets are cut out of uids in order in one pass."""
    tree = parse(rule)
    for call in (node for node in walk(tree) if isinstance(node, Call)):
        function = function_of(call.function)
        if function is None or not function.any_order:
            return pool
    read = {*columns, *(node.name for node in plain_names(tree))} - {"score"}
    return in_uid_order(pool, read) or pool
