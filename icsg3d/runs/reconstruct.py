"""A run that encodes crystals and decodes them again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from icsg3d.arguments import whole_number
from icsg3d.crystals.structures import structure_from_dict
from icsg3d.data import load_structures, write_frame
from icsg3d.errors import InputError, Interrupted
from icsg3d.files import locked, saving
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.models.decoding import SYMMETRY_TOLERANCE
from icsg3d.progress import task
from icsg3d.refusals import log_refused, usable
from icsg3d.run_folders import PartialRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from icsg3d.data import CrystalTable

_CHUNK = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconstructed:
    """What came of a run.

    Attributes:
        out: The dataframe that was written.
        rows: Name, crystal (None where there is none) and reason of each entry of the source.
    """

    out: Path
    rows: list[tuple[str, Structure | None, str]]

    def __str__(self) -> str:
        """Return the counts in a sentence."""
        good = sum(structure is not None for _, structure, _ in self.rows)
        return f"{good} of {len(self.rows)} crystals gave a crystal again"


def reconstruct(
    data: Path,
    out: Path,
    *,
    model: str = "cubic",
    device: str = "cpu",
    symmetry: float = SYMMETRY_TOLERANCE,
    limit: int | None = None,
    resume: bool = False,
) -> Reconstructed:
    """Encode crystals and decode them again, into a dataframe with ``material_id``, ``structure`` and ``reason``.

    Args:
        data: Any source of crystals.
        out: Dataframe to write, ``.json`` or ``.json.gz``.
        model: Shipped generator, or folder of a trained one.
        device: Where the networks run.
        symmetry: Crystals are brought to the symmetry they have within this distance in angstrom; 0 for none.
        limit: Take only so many crystals.
        resume: Take up what an interrupted run left.

    Raises:
        InputError: if an option or the source cannot be used.
        Interrupted: on Ctrl-C; finished rows are kept.
    """
    data, out = Path(data), Path(out)
    limit = None if limit is None else whole_number(limit, "--limit", 1)
    if not out.name.endswith((".json", ".json.gz")):
        raise InputError(f"--out must end in .json or .json.gz, got {out}")
    generator = CrystalGenerator.from_pretrained(model, device, symmetry)
    table = load_structures(data).head(limit)
    log_refused(_log, table.skipped)
    origin = {"data": str(data.resolve()), "data_sha256": table.digest()}
    with saving(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out):
        partial = PartialRows(
            out.with_name(f".{out.name}.partial.jsonl"),
            origin | {"limit": limit, "symmetry": symmetry} | generator.as_dict(),
        )
        partial.begin(resume=resume)
        try:
            rebuild_missing(generator, table, partial)
        except KeyboardInterrupt as stop:
            raise Interrupted(
                f"interrupted; what was finished is kept, repeat the command with --resume to finish {out}"
            ) from stop
        rows = [partial.rows[row] for row in range(len(table))]
        rows += [[name, None, reason] for name, reason in table.skipped.items()]
        with saving(out):
            write_frame(pd.DataFrame(rows, columns=["material_id", "structure", "reason"]), out)
        partial.remove()
    log_refused(_log, {name: reason for name, made, reason in rows[: len(table)] if made is None})
    return Reconstructed(
        out, [(name, None if made is None else structure_from_dict(made), reason) for name, made, reason in rows]
    )


def rebuild_missing(generator: CrystalGenerator, table: CrystalTable, partial: PartialRows) -> None:
    """Rebuild the crystals of a table that a partial file does not hold yet: name, crystal (or None) and reason."""
    missing = [row for row in range(len(table)) if row not in partial.rows]
    with task("rebuilding", total=len(table), done=len(table) - len(missing)) as running:
        for chunk in _batched(missing):
            for row, made in _rebuilt(generator, table, chunk).items():
                partial.add(row, made)
            running.advance(len(chunk))


def _batched(rows: Sequence[int]) -> list[Sequence[int]]:
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]


def _rebuilt(generator: CrystalGenerator, table: CrystalTable, rows: Sequence[int]) -> dict[int, list[Any]]:
    """Return name, dictionary of the rebuilt crystal (or None) and reason for some rows of a table."""
    found = usable([table.structures[row] for row in rows], generator.prepare)
    made: dict[int, list[Any]] = {
        rows[place]: [table.ids[rows[place]], None, reason] for place, reason in found.refused.items()
    }
    good = [rows[place] for place in found.rows]
    decoded = generator.reconstruct([table.structures[row] for row in good]) if good else []
    for row, crystal in zip(good, decoded, strict=True):
        structure = None if crystal.structure is None else crystal.structure.as_dict()
        made[row] = [table.ids[row], structure, crystal.reason]
    return made
