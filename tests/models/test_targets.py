from __future__ import annotations

import pytest

from icsg3d.models.targets import PROPERTIES, property_named


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("formation_energy", "formation_energy_per_atom"),
        ("Band-Gap", "band_gap"),
        ("bulk modulus", "bulk_modulus"),
        ("K_VRH", "bulk_modulus"),
        ("n", "refractive_index"),
        ("diel", "dielectric_electronic"),
        ("hardness", None),
        ("b", None),
        ("", None),
    ],
)
def test_a_name_finds_its_property(text, name):
    assert property_named(text) == name


def test_every_property_finds_itself():
    assert [property_named(name) for name in PROPERTIES] == list(PROPERTIES)


def test_only_what_is_there_is_found():
    assert property_named("gap", ["bulk_modulus"]) is None
    assert property_named("bulk", ["bulk_modulus", "bulk_density"]) is None
