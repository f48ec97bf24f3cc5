"""Crystals of every textbook with the shipped `materials`, built from space group and positions."""

from __future__ import annotations

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from icsg3d import CrystalGenerator

pytestmark = pytest.mark.slow

THIRDS = (1 / 3, 2 / 3)
MIDDLE, QUARTER = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

# space group, a and c in angstrom, gamma in degrees, sites
CRYSTALS = {
    "rutile": ("P4_2/mnm", 4.594, 2.959, 90, {"Ti": (0, 0, 0), "O": (0.305, 0.305, 0)}),
    "anatase": ("I4_1/amd", 3.785, 9.514, 90, {"Ti": (0, 0, 0), "O": (0, 0, 0.208)}),
    "wurtzite": ("P6_3mc", 3.25, 5.207, 120, {"Zn": (*THIRDS, 0), "O": (*THIRDS, 0.382)}),
    "zinc blende": ("F-43m", 5.41, 5.41, 90, {"Zn": (0, 0, 0), "S": QUARTER}),
    "fluorite": ("Fm-3m", 5.463, 5.463, 90, {"Ca": (0, 0, 0), "F": QUARTER}),
    "diamond": ("Fd-3m", 3.567, 3.567, 90, {"C": (0, 0, 0)}),
    "corundum": ("R-3c", 4.759, 12.991, 120, {"Al": (0, 0, 0.352), "O": (0.306, 0, 0.25)}),
    "pyrite": ("Pa-3", 5.418, 5.418, 90, {"Fe": (0, 0, 0), "S": (0.385, 0.385, 0.385)}),
    "half-Heusler": ("F-43m", 5.93, 5.93, 90, {"Ti": (0, 0, 0), "Sn": MIDDLE, "Ni": QUARTER}),
    "chalcopyrite": ("I-42d", 5.289, 10.423, 90, {"Cu": (0, 0, 0), "Fe": (0, 0, 0.5), "S": (0.257, 0.25, 0.125)}),
    "delafossite": ("R-3m", 2.858, 16.958, 120, {"Cu": (0, 0, 0), "Al": (0, 0, 0.5), "O": (0, 0, 0.11)}),
    "elpasolite": ("Fm-3m", 8.12, 8.12, 90, {"Al": (0, 0, 0), "Na": MIDDLE, "K": QUARTER, "F": (0.219, 0, 0)}),
    "molybdenite": ("P6_3/mmc", 3.16, 12.3, 120, {"Mo": (*THIRDS, 0.25), "S": (*THIRDS, 0.621)}),
    "quartz": ("P3_221", 4.913, 5.405, 120, {"Si": (0.47, 0, 2 / 3), "O": (0.4135, 0.2669, 0.7858)}),
    "spinel": ("Fd-3m", 8.083, 8.083, 90, {"Mg": (0, 0, 0), "Al": (0.625,) * 3, "O": (0.3874,) * 3}),
}

ATOMS = dict(zip(CRYSTALS, (6, 6, 4, 2, 3, 2, 10, 12, 3, 8, 4, 10, 6, 9, 14), strict=True))
"""In the primitive cell."""

ROUGHLY = {"diamond"}
"""Its cell is one block, whose latent vector does not hold both sites: the second comes back 0.27 angstrom off."""


def crystal(name: str) -> Structure:
    group, a, c, gamma, sites = CRYSTALS[name]
    lattice = Lattice.from_parameters(a, a, c, 90, 90, gamma)
    return Structure.from_spacegroup(group, lattice, list(sites), list(sites.values())).get_primitive_structure()


@pytest.fixture(scope="module")
def generator():
    return CrystalGenerator.from_pretrained("materials")


@pytest.fixture(scope="module")
def placed(generator):
    """All in latent space, found once."""
    return dict(zip(CRYSTALS, generator.place([crystal(name) for name in CRYSTALS]), strict=True))


@pytest.mark.parametrize("name", CRYSTALS)
def test_it_comes_back(generator, placed, name):
    given = crystal(name)
    assert len(given) == ATOMS[name]
    decoded = generator.decode([placed[name].latent])[0].in_setting(placed[name].setting).structure
    site = 0.5 if name in ROUGHLY else 0.05
    assert StructureMatcher(ltol=0.02, stol=site, angle_tol=1, primitive_cell=True, scale=False).fit(given, decoded)


@pytest.mark.parametrize("name", CRYSTALS)
def test_neighbours_keep_the_anonymous_formula(generator, placed, name):
    neighbours = [each.structure for each in generator.sample_around(placed[name], 16)]
    anonymous = [each.composition.anonymized_formula for each in neighbours if each is not None]
    assert anonymous.count(crystal(name).composition.anonymized_formula) >= 12
