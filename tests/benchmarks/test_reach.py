"""What judges property models: crystals that were not learned, and uncertainties that were fitted to others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.cross_fitting import cross_fitted_sigmas
from benchmarks.reach import LEARNED, validation
from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.data import load_structures
from icsg3d.data.compact_arrays import read_compact
from icsg3d.data.targets import is_held_out
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.representation.description import describe

PAIRS = list(itertools.product((3, 11, 19, 37, 12, 20), (9, 17, 35, 53)))
EDGES = [4.2 + 0.1 * n for n in range(len(PAIRS))]
CRYSTALS = [
    CrystalArrays(np.array(pair), np.array([[0.0] * 3, [0.5] * 3]), edge / 2 * (np.ones((3, 3)) - np.eye(3)))
    for pair, edge in zip(PAIRS, EDGES, strict=True)
]


def test_uncertainties_follow_the_errors_on_other_formulas():
    predictor = PropertyPredictor.from_pretrained("formation_energy_per_atom")
    config = predictor.model.config.network.graph
    values = predictor.predict_graphs([describe(crystal, config) for crystal in CRYSTALS]).values
    errors = np.random.default_rng(0).laplace(scale=0.05, size=len(values))
    all_learned = np.ones(len(values), dtype=bool)
    small = cross_fitted_sigmas(predictor, CRYSTALS, values + errors, all_learned)
    large = cross_fitted_sigmas(predictor, CRYSTALS, values + 10 * errors, all_learned)
    np.testing.assert_allclose(large, 10 * small, rtol=0.05)
    # An error that nothing is fitted to changes nothing, its own uncertainty included.
    wrong, left_out = errors.copy(), all_learned.copy()
    wrong[3], left_out[3] = 5.0, False
    found = cross_fitted_sigmas(predictor, CRYSTALS, values + wrong, left_out)
    np.testing.assert_allclose(found, cross_fitted_sigmas(predictor, CRYSTALS, values + errors, left_out))
    # What no material can be has no uncertainty and spoils none.
    close = CrystalArrays(CRYSTALS[-1].numbers, CRYSTALS[-1].frac_coords, CRYSTALS[-1].lattice / 2.2)
    more = cross_fitted_sigmas(
        predictor, [*CRYSTALS, close], np.append(values + errors, 0), np.append(all_learned, True)
    )
    assert np.isnan(more).tolist() == [False] * len(CRYSTALS) + [True]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["formation_energy_per_atom", "band_gap"])
def test_no_crystal_that_was_learned_judges(data_folder, name):
    judged = validation(data_folder, read_compact(data_folder / "mp_structures.npz"), name)
    data = read_compact(data_folder / "mp20_val.npz")
    row_of = {each: row for row, each in enumerate(data.ids)}
    groups = data.columns["space_group"]
    known = {(data.formulas[row_of[each]], int(groups[row_of[each]])) for each in judged.ids}
    assert len(judged.values) > 6000
    for source in LEARNED[name]:
        frame = load_structures(data_folder / f"{source}.json.gz").frame
        pairs = zip(frame["formula"], frame["space_group_number"], strict=True)
        assert not [pair for pair in pairs if pair in known and not is_held_out(pair[0])]
