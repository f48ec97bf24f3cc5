"""Which formulas the shipped models have learned from."""

from __future__ import annotations

import gzip
import shutil

import pytest
from pymatgen.core import Lattice, Structure

from icsg3d import pretrained
from icsg3d.errors import InputError
from icsg3d.properties import seen_in_training, shipped_properties


def rock_salt(*species):
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.0), species, [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_formulas_of_the_lists_are_seen_and_others_are_not():
    folder = pretrained.find("band_gap")
    with gzip.open(folder / "training_crystals.csv.gz", "rt") as file:
        learned = {line.rstrip().rsplit(",", 1)[1] for line in file}
    known = next(a + b for a in ("Na", "K", "Rb") for b in ("Cl", "Br", "I") if a + b in learned)
    metal, halogen = (known[:-2], known[-2:]) if known[-2:] in {"Cl", "Br"} else (known[:-1], known[-1])
    assert "PaN" not in learned or "NpBi" not in learned
    new = ("Pa", "N") if "PaN" not in learned else ("Np", "Bi")
    found = seen_in_training([rock_salt(metal, halogen), rock_salt(*new)], ["band_gap"])
    assert found["band_gap"].tolist() == [True, False]
    everything = seen_in_training([rock_salt(metal, halogen)])
    assert list(everything) == shipped_properties()
    assert len(everything) == 1


def test_a_model_without_a_list_is_refused(tmp_path):
    folder = tmp_path / "gap"
    shutil.copytree(pretrained.find("band_gap"), folder)
    (folder / "training_crystals.csv.gz").unlink()
    with pytest.raises(InputError, match="does not list its training crystals"):
        seen_in_training([rock_salt("Na", "Cl")], [folder])
