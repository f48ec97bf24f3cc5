"""Makers that the workflow tests hand to flows, in a module of their own so that jobs in other processes find them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ase.calculators.emt import EMT
from atomate2.ase.jobs import AseRelaxMaker, EmtRelaxMaker
from jobflow import job


@dataclass
class EmtStaticMaker(AseRelaxMaker):
    """Energy of a crystal as it is, by ASE's EMT."""

    name: str = "EMT static"
    relax_cell: bool = False
    steps: int = 1

    def _get_calculator(self):
        return EMT()


@dataclass
class CountingMaker(EmtRelaxMaker):
    """EMT that leaves a line for each crystal it relaxes in the file named by COUNT_FILE, and takes its time."""

    name: str = "counting"

    def run_ase(self, mol_or_struct, prev_dir=None):
        with Path(os.environ["COUNT_FILE"]).open("a") as file:
            file.write(f"{mol_or_struct.composition.reduced_formula}\n")
        time.sleep(float(os.environ.get("COUNT_SECONDS", "0")))
        return super().run_ase(mol_or_struct, prev_dir=prev_dir)


@dataclass
class FailingMaker(EmtRelaxMaker):
    """EMT that breaks on crystals with nickel."""

    name: str = "failing"

    def run_ase(self, mol_or_struct, prev_dir=None):
        if "Ni" in mol_or_struct.composition and len(mol_or_struct.composition) > 1:
            msg = "nickel is not liked here"
            raise RuntimeError(msg)
        return super().run_ase(mol_or_struct, prev_dir=prev_dir)


class NanCalculator(EMT):
    """EMT whose energies are no numbers."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["energy"] = float("nan")


@dataclass
class NanMaker(EmtStaticMaker):
    """A calculation that went wrong without saying so."""

    name: str = "nan"

    def _get_calculator(self):
        return NanCalculator()


@job
def handed_on(value):
    """Return what it is given."""
    return value


def not_a_maker() -> str:
    return "nothing"
