"""`dedup` and `pool near`: near-duplicates of a pool, on a participant's own machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from datacomp.console import console, counting
from datacomp.problems import BadInput

commands = typer.Typer()
pool_commands = typer.Typer()


@commands.command()
def dedup(
    pool: Annotated[Path, typer.Option(help="Directory of the pool.")],
    out: Annotated[Path, typer.Option(help="Where the uids that stay go (npy).")],
    subset: Annotated[Path | None, typer.Option(help="Only among these uids (npy).")] = None,
    threshold: Annotated[float, typer.Option(help="Cosine from which rows are near.")] = 0.95,
    feature: Annotated[str, typer.Option(help="Feature that is compared.")] = "l14_img",
    rank: Annotated[
        str, typer.Option(help="Column whose highest value stays; empty: the smallest uid.")
    ] = "clip_l14_similarity_score",
    keep: Annotated[str, typer.Option(help="Keep rule: greedy, components or semdedup.")] = "greedy",
) -> None:
    """Remove near-duplicates. Says what was removed, and how many were missed by its own measure."""
    from datacomp_filters.neardup.command import run_dedup

    began = time.monotonic()
    with counting("dedup", "rows") as report:
        done = run_dedup(
            pool, out, subset=subset, threshold=threshold, feature=feature, rank=rank, keep=keep, report=report
        )
    decision = done.decision
    low, high = decision.recall.interval()
    seconds = time.monotonic() - began
    console.print(f"kept [bold]{done.rows_kept:,}[/] of {done.rows_in:,} rows in {seconds:.1f} s: {out}")
    removed = int(decision.removed.sum())
    near = removed - decision.identical
    console.print(f"removed {removed:,} samples: {decision.identical:,} identical, {near:,} near", highlight=False)
    console.print(
        f"recall {decision.recall.rate:.4f} ({low:.4f} to {high:.4f}, 95%), measured on"
        f" {decision.recall.sampled:,} samples that are identical to no other",
        highlight=False,
    )
    if decision.without_features:
        console.print(f"[yellow]{decision.without_features:,} samples have no feature and were kept[/]")


@pool_commands.command()
def near(
    directory: Annotated[Path, typer.Argument(help="Directory of the pool.")],
    features: Annotated[Path | None, typer.Option(help="Features of the evaluation images (npz).")] = None,
    suite: Annotated[Path | None, typer.Option(help="Directory of a suite that has eval_features.npz.")] = None,
    feature: Annotated[str, typer.Option(help="Which feature is compared.")] = "l14_img",
    floor: Annotated[float, typer.Option(help="Cosine from which nearness is told; lower takes longer.")] = 0.9,
) -> None:
    """Add each row's cosine to the nearest evaluation image, so that rules may say `not near(eval)`.

    Rows that are near no image by the floor all get the number just below it.
    """
    from datacomp_filters.neardup.evaluation import add_similarity

    source = features or suite
    if source is None:
        hint = "--features EVAL.npz, or --suite DIR"
        raise BadInput.of("eval-features-missing", "nothing says what the evaluation images look like", hint=hint)
    with counting("near", "rows") as report:
        added = add_similarity(directory, source, feature, report, floor=floor)
    console.print(f"added eval_similarity; the pool's digest is now {added.digest[:16]}")
    low, high = added.recall.interval()
    console.print(
        f"{added.near:,} rows at {floor:g} or nearer; recall {added.recall.rate:.4f} ({low:.4f} to {high:.4f}, 95%),"
        f" measured on {added.recall.sampled:,} rows",
        highlight=False,
    )
