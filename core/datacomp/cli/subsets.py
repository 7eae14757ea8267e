"""`reshard` and `subset`: what is done with a subset once there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datacomp.console import console, counting
from datacomp.problems import BadInput

commands = typer.Typer()
subset_commands = typer.Typer(help="Combine and compare subsets.", no_args_is_help=True)
One = Annotated[Path, typer.Argument(metavar="A", help="A subset (npy).")]
Other = Annotated[Path, typer.Argument(metavar="B", help="Another.")]
Out = Annotated[Path | None, typer.Option(help="Where the result goes (npy); without it, only figures are shown.")]


@commands.command()
def reshard(
    subset: Annotated[Path, typer.Option(help="The uids to copy (npy).")],
    out: Annotated[Path, typer.Option(help="Directory for the shards: new, empty, or of the same run before.")],
    shards: Annotated[Path | None, typer.Option(help="Directory of .tar files: their headers are read once.")] = None,
    pool: Annotated[Path | None, typer.Option(help="An ingested pool, which knows where its samples lie.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default all cores.")] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Samples per tar.")] = 10_000,
    blur_faces: Annotated[bool, typer.Option("--blur-faces", help="Blur faces (needs --metadata, Pillow).")] = False,
    metadata: Annotated[
        Path | None, typer.Option(help="Metadata (*.parquet) with face_bboxes; default the pool's.")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="Where tars' indexes are kept; default your cache.")] = None,
) -> None:
    """Copy a subset's samples into tars of their own, laid out as DataComp's resharder does. Resumes after a kill."""
    from datacomp.reshard import reshard_from
    from datacomp.reshard.run import source_of

    faces = (metadata or (pool / "metadata" if pool else None)) if blur_faces else None
    if blur_faces and faces is None:
        raise BadInput.of("metadata-missing", "faces are blurred by the metadata's boxes", hint="give --metadata DIR")
    source = source_of(shards, pool, index)
    with counting("reshard", "") as report:
        made = reshard_from(source, subset, out, workers=workers, shard_size=shard_size, metadata=faces, report=report)
    console.print(f"wrote [bold]{made.output_count:,}[/] samples in {made.output_shard_count:,} shards: {out}")
    notes = (
        (made.missing_count, f"uids of the subset are in no tar; they are listed in {out / 'missing.npy'}"),
        (made.duplicate_count, "samples are in the tars again; the first of each was copied"),
        (made.skipped_count, "samples of the tars have no uid and were passed over"),
        (made.without_metadata_count, "samples are not in the metadata: whether they have faces is not known"),
        (made.dropped_count, "samples with faces could not be decoded and were left out"),
    )
    for count, text in notes:
        if count:
            console.print(f"[yellow]{count:,} {text}[/]")


@subset_commands.command()
def union(one: One, other: Other, out: Out = None) -> None:
    """Every uid of either, as often as in the one that has it more often."""
    _combine("union", one, other, out)


@subset_commands.command()
def intersect(one: One, other: Other, out: Out = None) -> None:
    """Every uid of both, as often as in the one that has it less often."""
    _combine("intersect", one, other, out)


@subset_commands.command()
def difference(one: One, other: Other, out: Out = None) -> None:
    """Every uid of A that B has not, as often as in A."""
    _combine("difference", one, other, out)


@subset_commands.command()
def overlap(one: One, other: Other) -> None:
    """How much two subsets have in common."""
    from datacomp.subsets import overlap as measure
    from datacomp.uids import read_subset

    found = measure(read_subset(one), read_subset(other))
    console.print(f"A           {found.unique_a:,} different uids, {found.rows_a:,} rows", highlight=False)
    console.print(f"B           {found.unique_b:,} different uids, {found.rows_b:,} rows", highlight=False)
    console.print(f"in both     {found.unique_both:,} different uids, {found.rows_both:,} rows", highlight=False)
    console.print(f"of A in B   {found.share_of_a:.2%} of its uids", highlight=False)
    console.print(f"of B in A   {found.share_of_b:.2%} of its uids", highlight=False)
    console.print(f"Jaccard     {found.jaccard:.4f} (uids in both, of those in either)", highlight=False)


def _combine(what: str, one: Path, other: Path, out: Path | None) -> None:
    from datacomp.subsets import save, stream
    from datacomp.uids import read_subset

    pieces = stream(what, read_subset(one), read_subset(other))
    rows = save(out, pieces) if out is not None else sum(piece.size for piece in pieces)
    console.print(f"{what}: [bold]{rows:,}[/] rows{f': {out}' if out else ''}")
