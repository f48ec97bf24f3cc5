from __future__ import annotations

import json
from types import SimpleNamespace

import pandas as pd
import pytest
from pymatgen.alchemy.materials import TransformedStructure
from pymatgen.core import IStructure, Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.crystals.structures import as_structure
from icsg3d.crystals.taking import is_one_crystal
from icsg3d.errors import InputError


def salt():
    return Structure(Lattice.cubic(4.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


HOLDERS = {
    "Structure": salt(),
    "IStructure": IStructure.from_sites(list(salt())),
    "ComputedStructureEntry": ComputedStructureEntry(salt(), -7.0),
    "TransformedStructure": TransformedStructure(salt()),
    "document": SimpleNamespace(material_id="mp-22862", structure=salt()),
    "document of a document": SimpleNamespace(structure=ComputedStructureEntry(salt(), -7.0)),
    "as_dict": salt().as_dict(),
    "as_dict of an entry": ComputedStructureEntry(salt(), -7.0).as_dict(),
    "as_dict of a history": TransformedStructure(salt()).as_dict(),
    "CIF": salt().to(fmt="cif"),
    "JSON": salt().to(fmt="json"),
    "JSON of an entry": json.dumps(ComputedStructureEntry(salt(), -7.0).as_dict()),
    "Atoms": AseAtomsAdaptor.get_atoms(salt()),
}


@pytest.mark.parametrize("given", HOLDERS.values(), ids=HOLDERS)
def test_whatever_holds_a_crystal_is_taken(given):
    found = as_structure(given)
    assert type(found) is Structure
    assert found.composition.formula == "Na1 Cl1"
    assert found.lattice.abc == pytest.approx((4.2, 4.2, 4.2))
    assert found.get_distance(0, 1) == pytest.approx(4.2 * 3**0.5 / 2)
    assert is_one_crystal(given)


@pytest.mark.parametrize(
    "given", [[salt()], (salt(), salt()), pd.Series([salt()]), pd.DataFrame({"structure": [salt()]}), iter([salt()])]
)
def test_several_crystals_are_no_single_one(given):
    assert not is_one_crystal(given)


@pytest.mark.parametrize(
    "text",
    [
        "no crystal\n" * 100,  # longer than any name of a file
        "{" * 300,
        '{"a": 1}',
        "data_x\n_cell_length_a 4\nloop_\n",
        '{"structure": {"sites": [3], "lattice": 1}}',
    ],
)
def test_texts_without_a_crystal_are_named(text):
    with pytest.raises(InputError) as caught:
        as_structure(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [{"structure": None}, SimpleNamespace(structure=None), {"lattice": 1}, 3, None])
def test_holders_without_a_crystal_are_named_by_type(given):
    with pytest.raises(InputError, match=f"got {type(given).__name__}"):
        as_structure(given)
