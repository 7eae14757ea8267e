"""`datacomp scaling`: published scaling laws, fitted again from their published tables."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datacomp.console import console
from datacomp.problems import BadInput

if TYPE_CHECKING:
    from datacomp.scaling.recipes.report import Quantity, RecipeReport

scaling_commands = typer.Typer(help="Scaling laws: what to expect of larger runs.", no_args_is_help=True)
ORACLES = "DATACOMP_ORACLES"
FOLDER = Path("../shared/oracles")
"""Where the published tables are looked for when `DATACOMP_ORACLES` is not set."""
TABLES = {
    "cherti": Path("cherti2022/cherti_zeroshot_results.csv"),
    "gadre": Path("gadre2024/gadre_testbed_104.csv"),
    "porian": Path("porian2024/porian_isoflop_points.csv"),
}


class Recipe(StrEnum):
    """A published fit."""

    CHERTI = "cherti"
    GADRE = "gadre"
    PORIAN = "porian"


@scaling_commands.callback()
def _group() -> None:
    """Scaling laws: what to expect of larger runs."""


@scaling_commands.command("recipe")
def recipe(
    name: Annotated[Recipe, typer.Argument(help="Cherti et al. 2022, Gadre et al. 2024 or Porian et al. 2024.")],
    data: Annotated[
        Path | None,
        typer.Option(help="The published table (CSV); default: in the folder DATACOMP_ORACLES, or ../shared/oracles."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Training set (cherti: all; gadre: rpj; porian: rw).")] = None,
    benchmark: Annotated[str | None, typer.Option(help="What is predicted (cherti: imagenet1k; gadre: avg17).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit a published scaling law to its published table, with intervals and warnings."""
    report = run_recipe(name, data, dataset, benchmark)
    if as_json:
        print(json.dumps(report.to_json(), indent=2))  # noqa: T201
        return
    console.print(f"{report.recipe}: {', '.join(f'{key} {value}' for key, value in report.inputs.items())}")
    for quantity, found in report.quantities.items():
        console.print(f"  {quantity}  {_written(found)}", highlight=False)
    for warning in report.warnings:
        console.print(f"  [yellow]note:[/] {warning}")


def run_recipe(name: str, data: Path | None, dataset: str | None, benchmark: str | None) -> RecipeReport:
    """A recipe's report. `BadInput` for a choice that the recipe does not have, and for a table that is not there."""
    from datacomp.scaling.recipes import cherti, gadre, porian

    if name == "porian" and benchmark is not None:
        raise BadInput.of("option-unused", "porian has no choice of benchmark", where="--benchmark")
    path = data or _known(name)
    match name:
        case "cherti":
            return cherti.run(path, benchmark or "imagenet1k", dataset)
        case "gadre":
            return gadre.run(path, dataset or "rpj", benchmark or "avg17")
    return porian.run(path, dataset or "rw")


def _known(name: str) -> Path:
    folder = Path(os.environ.get(ORACLES) or FOLDER)
    if not folder.is_dir():
        hint = f"give --data FILE, or set {ORACLES} to a folder with {TABLES[name]}"
        raise BadInput.of("table-not-named", f"which table? There is no folder {folder}", where="--data", hint=hint)
    return folder / TABLES[name]


def _written(quantity: Quantity) -> str:
    interval = "" if quantity.lo is None else f"  [{quantity.lo:.4g}, {quantity.hi:.4g}]"
    return f"{quantity.value:.4g}{interval}"
