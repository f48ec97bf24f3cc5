"""Whole commands give what they gave when ``golden.json`` was written: formulas, symmetry, cells, energies, features.

Numbers may differ as much as processors do (``TOLERANCE``). Where results are meant to change, write the file anew
with ``python tests/golden/test_golden.py``, and say in the changelog why.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest

GOLDEN = Path(__file__).with_name("golden.json")

FORMULAS = ("NaCl", "SrTiO3", "MgO")
"""Prototypes that are predicted, featurized and rebuilt."""

TOLERANCE = {"rel": 2e-3, "abs": 2e-3}
"""Of numbers: 0.2 %, or 0.002 of their unit (angstrom, degree, eV/atom, GPa ...), whichever is more."""

WORDS = ("formula", "space_group", "prototype", "oxidation_states", "passed", "failed_on", "decomposition")
NUMBERS = (
    *("sites", "a", "b", "c", "alpha", "beta", "gamma", "scaled_by", "volume_per_atom", "latent_distance"),
    *("formation_energy_per_atom", "formation_energy_per_atom_std", "energy_above_hull", "band_gap"),
)


def icsg3d(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "icsg3d", "-q", *map(str, arguments)], check=True)


def crystals(folder: Path) -> Path:
    """A folder of the prototypes as CIFs."""
    from icsg3d.generation.prototypes import prototype_structure

    there = folder / "crystals"
    there.mkdir(exist_ok=True)
    for formula in FORMULAS:
        prototype_structure(formula).to(filename=str(there / f"{formula}.cif"))
    return there


def rows(table: pd.DataFrame) -> list[dict[str, object]]:
    """A table as JSON has it, without empty cells."""
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in json.loads(table.to_json(orient="records", double_precision=5))
    ]


def generated(folder: Path) -> list[dict[str, object]]:
    icsg3d("generate", "--base", "NaCl", "-n", 12, "--seed", 0, "--out", folder / "generated")
    table = pd.read_csv(folder / "generated" / "candidates.csv").sort_values("index")
    return rows(table[["index", *WORDS, *NUMBERS]])


def predicted(folder: Path) -> list[dict[str, object]]:
    icsg3d("predict", "--data", crystals(folder), "--out", folder / "predicted.csv")
    return rows(pd.read_csv(folder / "predicted.csv"))


def featurized(folder: Path) -> list[dict[str, object]]:
    """Two names and every sixteenth feature."""
    icsg3d("featurize", "--data", crystals(folder), "--out", folder / "features.csv")
    table = pd.read_csv(folder / "features.csv")
    return rows(table[["material_id", "formula", *table.columns[2::16]]])


def rebuilt(folder: Path) -> list[dict[str, object]]:
    from pymatgen.core import Structure

    icsg3d("reconstruct", "--data", crystals(folder), "--out", folder / "rebuilt.jsonl")
    found = []
    for line in (folder / "rebuilt.jsonl").read_text().splitlines():
        row = json.loads(line)
        made = Structure.from_dict(row["structure"])
        cell = dict(zip(("a", "b", "c", "alpha", "beta", "gamma"), made.lattice.parameters, strict=True))
        named = {"material_id": row["material_id"], "formula": made.composition.reduced_formula, "sites": len(made)}
        found.append(named | {"space_group": made.get_space_group_info()[0]} | cell)
    return rows(pd.DataFrame(found))


COMMANDS = {"generate": generated, "predict": predicted, "featurize": featurized, "reconstruct": rebuilt}


def near(value: object) -> object:
    """What equals a number within the tolerance, and words exactly."""
    return value if isinstance(value, str | bool) else pytest.approx(value, **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_give_what_they_gave(command, tmp_path):
    golden = json.loads(GOLDEN.read_text())[command]
    found = COMMANDS[command](tmp_path)
    assert len(found) == len(golden)
    for row, expected in zip(found, golden, strict=True):
        assert row == {name: near(value) for name, value in expected.items()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        everything = {name: command(Path(scratch)) for name, command in COMMANDS.items()}
    GOLDEN.write_text(json.dumps(everything, indent=1) + "\n")
