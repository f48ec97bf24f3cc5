"""Made-up draws that are quick to judge: salts of three kinds whose energies follow from their cells."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from pymatgen.core import Lattice, Structure

from icsg3d.generation.candidates import Candidate
from icsg3d.screening.pipeline import Judge
from icsg3d.screening.screen import Screening

CATIONS = ("Li", "Na", "K", "Rb", "Cs", "Ag")
ANIONS = ("F", "Cl", "Br", "I")
KINDS = {
    "caesium chloride": (Lattice.cubic(1.0), [0.5, 0.5, 0.5]),
    "rock salt": (Lattice([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), [0.5, 0.5, 0.5]),
    "zinc blende": (Lattice([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), [0.25, 0.25, 0.25]),
}


def salt(cation: str, anion: str, kind: str, volume: float) -> Structure:
    """Return a salt with a volume per atom in cubic angstrom."""
    lattice, place = KINDS[kind]
    return Structure(lattice.scale(2 * volume), [cation, anion], [[0, 0, 0], place])


def drawn(number: int) -> Candidate:
    """Return a draw, which depends on its number alone; some give no crystal, some no salt, some repeat others."""
    random = np.random.default_rng(number)
    if random.random() < 0.05:
        return Candidate(number, None, "no atom was found", seed=0, model="salts")
    anion = str(random.choice([*ANIONS, "N"]))
    kind, volume = str(random.choice(list(KINDS))), float(random.choice([18, 20, 20.05, 24, 30])) + random.random() / 50
    structure = salt(str(random.choice(CATIONS)), anion, kind, volume)
    return Candidate(number, structure, seed=0, model="salts", in_training=bool(number % 2))


class Salts:
    """A source of such draws.

    Args:
        limit: How many there are.
        bad: Numbers that cannot be drawn.
    """

    generator = SimpleNamespace(elements={*CATIONS, *ANIONS, "N"}, name="salts")

    def __init__(self, limit: int, bad: tuple[int, ...] = ()) -> None:
        self.limit = limit
        self.bad = bad

    def candidates(self, numbers):
        for number in numbers:
            if number in self.bad:
                msg = f"number {number} cannot be drawn"
                raise RuntimeError(msg)
            yield drawn(number)


class CellEnergy:
    """Predicts an energy that follows from formula and cell."""

    property = SimpleNamespace(name="formation_energy_per_atom")
    digest = "energies of cells"

    def predict_possible(self, crystals):
        values = np.array([_energy(crystal) for crystal in crystals])
        return SimpleNamespace(values=values, stds=np.full(len(values), 0.03))


class Gap(CellEnergy):
    """Predicts a gap likewise."""

    property = SimpleNamespace(name="band_gap")
    digest = "gaps of cells"


def _energy(crystal: Structure) -> float:
    chemistry = sum(site.specie.X for site in crystal) - 0.1 * crystal[0].specie.Z % 1
    return float(-0.3 * chemistry - 0.01 * np.sin(40 * crystal.volume) + (0.2 if "N" in crystal.symbol_set else 0))


class _Remembering(Judge):
    """Judges and tells of each draw once, for all tests."""

    def assess(self, candidates):
        new = [each for each in candidates if each.index not in _ASSESSED]
        _ASSESSED.update({each.index: each for each in super().assess(new)})
        return [_ASSESSED[each.index] for each in candidates]


_ASSESSED: dict[int, Candidate] = {}


def judge(*, unique: bool = True, base: Structure | None = None) -> Judge:
    """Return a judge of such draws."""
    return _Remembering(CellEnergy(), Screening(unique=unique), told=(Gap(),), base=base)


def as_rows(candidates) -> list:
    """Return candidates as something that can be compared, with crystals to the last digit."""
    rows = []
    for each in candidates:
        values = each.as_dict()
        crystal = each.structure
        values["structure"] = None if crystal is None else (crystal.lattice.matrix.tolist(), crystal.formula)
        values["sites"] = None if crystal is None else crystal.frac_coords.tolist()
        rows.append(values)
    return rows
