"""A run that compares candidates with known crystals of the same formula: Table S2."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icsg3d.crystals.structures import read_json, structure_from_dict
from icsg3d.data import load_structures
from icsg3d.errors import InputError
from icsg3d.evaluation.polymorphs import Polymorph, polymorph_table
from icsg3d.evaluation.relaxation import mean_of_known
from icsg3d.files import locked, saving, write_atomically
from icsg3d.refusals import log_refused
from icsg3d.report.folders import read_candidates_or_crystals
from icsg3d.report.validation import markdown_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PolymorphComparison:
    """What came of a run.

    Attributes:
        rows: Table S2, as :func:`icsg3d.evaluation.polymorphs.polymorph_table` gives it.
        formulas: Number of formulas among the candidates.
    """

    rows: pd.DataFrame
    formulas: int

    @property
    def means(self) -> str:
        """Mean errors with their units."""
        units = {"mae_a": "angstrom", "mae_b": "angstrom", "mae_c": "angstrom", "mae_e_form": "eV/atom"}
        values = {name: mean_of_known(self.rows[name].astype(float)) for name in units}
        return ", ".join(f"{name} {value:.3f} {units[name]}" for name, value in values.items() if value is not None)

    def __str__(self) -> str:
        """Return counts and mean errors in a sentence."""
        known = self.rows["formula"].nunique()
        return f"{known} of {self.formulas} formulas are known; averages over {len(self.rows)} rows: {self.means}"


def compare_polymorphs(
    candidates: Path, polymorphs: Path, out: Path, *, energy_column: str = "formation_energy_per_atom"
) -> PolymorphComparison:
    """Compare candidates with known crystals of the same formula, and write Table S2 as CSV and Markdown.

    Args:
        candidates: ``validation.json.gz`` of a validation, candidates, or any crystals.
        polymorphs: Known crystals.
        out: Table to write, ``.csv``; one in Markdown is put beside it.
        energy_column: Column of the known crystals with formation energies in eV/atom.

    Raises:
        InputError: if a source cannot be used, or no formula is in both.
    """
    if out.suffix != ".csv":
        raise InputError(f"the table is written as CSV; name a file that ends in .csv instead of {out.name}")
    found = _candidates(candidates)
    table = load_structures(polymorphs)
    log_refused(_log, table.skipped)
    energies: list[float | None] = [None] * len(table)
    if energy_column in table.frame:
        energies = [_number(value) for value in table.frame[energy_column]]
    else:
        _log.warning("%s has no column %s: energies are not compared", polymorphs, energy_column)
    known = [Polymorph(*row) for row in zip(table.ids, table.structures, energies, strict=True)]
    rows = polymorph_table(found, known)
    if rows.empty:
        raise InputError(f"no formula of {candidates} is in {polymorphs}; give other known crystals")
    compared = PolymorphComparison(rows, len({phase.structure.composition.reduced_formula for phase in found}))
    with saving(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out), saving(out):
        write_atomically(out, rows.to_csv(index=False, float_format="%.4f").encode())
        text = f"{markdown_table(rows)}\n\nAverages over the {len(rows)} rows: {compared.means}.\n"
        write_atomically(out.with_suffix(".md"), text.encode())
    return compared


def _candidates(path: Path) -> list[Polymorph]:
    """Return validated candidates as relaxed, with the engine's energies; others as they are."""
    if path.is_file() and path.name.endswith((".json", ".json.gz")):
        content = read_json(path)
        if isinstance(content, dict) and "rows" in content:
            return _validated(content, path)
    energy = "formation_energy_per_atom"
    return [
        Polymorph(str(each.index), each.structure, each.predictions.get(energy))
        for each in read_candidates_or_crystals(path)
        if each.structure is not None
    ]


def _validated(content: dict[str, Any], path: Path) -> list[Polymorph]:

    try:
        rows = [row for row in content["rows"] if row["state"] == "finished"]
        found = [
            Polymorph(
                str(row["candidate"]["index"]),
                structure_from_dict(row["relaxed"]),
                _number(row["formation_energy_per_atom"]),
            )
            for row in rows
        ]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no validation ({error!r}); give the validation.json.gz of icsg3d validate"
        ) from error
    left = len(content["rows"]) - len(found)
    if left:
        _log.warning("%d candidates of %s did not finish and are left out", left, path)
    if not found:
        raise InputError(f"no candidate of {path} finished, so there is nothing to compare; validate others")
    return found


def _number(value: Any) -> float | None:
    """Return a finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
