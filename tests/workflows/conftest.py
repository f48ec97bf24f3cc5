"""Engines of the workflow tests: ASE's EMT, which is exact to reason about and takes milliseconds."""

from __future__ import annotations

import pytest
from atomate2.ase.jobs import EmtRelaxMaker
from jobflow import JobStore
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from icsg3d.generation.candidates import Candidate
from icsg3d.workflows.formation import FormationEnergyMaker
from icsg3d.workflows.schemas import CandidateDoc
from tests.workflows.emt_makers import EmtStaticMaker


def cscl(first: str, second: str, edge: float) -> Structure:
    return Structure(Lattice.cubic(edge), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def crystal():
    """Make a crystal of the caesium chloride kind."""
    return cscl


@pytest.fixture
def emt() -> FormationEnergyMaker:
    """Return ASE's EMT as an engine."""
    return FormationEnergyMaker(
        relax_maker=EmtRelaxMaker(relax_kwargs={"fmax": 0.01}),
        static_maker=EmtStaticMaker(),
        engine="emt",
        packages=["ase"],
    )


@pytest.fixture
def store() -> JobStore:
    """Return an empty store in memory."""
    found = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    found.connect()
    return found


@pytest.fixture
def candidates() -> list[CandidateDoc]:
    """Return three candidates that EMT can compute, with made-up predictions."""
    crystals = [cscl("Cu", "Au", 3.05), cscl("Ni", "Al", 2.9), cscl("Pd", "Ag", 3.1)]
    return [
        CandidateDoc.from_candidate(
            Candidate(
                index,
                structure,
                predictions={"formation_energy_per_atom": -0.1 * index, "formation_energy_per_atom_std": 0.01},
                screening={"passed": True},
            )
        )
        for index, structure in enumerate(crystals)
    ]
