from __future__ import annotations

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.errors import InputError
from icsg3d.representation import environments as module
from icsg3d.representation import moments
from icsg3d.representation.environments import EnvironmentSet, environments
from icsg3d.representation.moments import EnvironmentConfig

CONFIG = EnvironmentConfig()


def radial_functions(distances, config):
    return moments.radial_functions(torch.from_numpy(distances), config).numpy()


def spherical_harmonics(unit, degree):
    return moments.spherical_harmonics(torch.from_numpy(unit), degree).numpy()


def caesium_chloride(edge):
    return CrystalArrays(np.array([55, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), edge * np.eye(3))


def test_moments_of_a_simple_cubic_cell_are_those_of_its_six_neighbours():
    edge = 4.5  # the second neighbours are at 6.36 angstrom, beyond the cutoff
    found = environments(CrystalArrays(np.array([84]), np.zeros((1, 3)), edge * np.eye(3)), CONFIG)
    assert found.centres.tolist() == found.neighbours.tolist() == [0]
    radial = radial_functions(np.array([edge]), CONFIG)[0]
    np.testing.assert_allclose(found.moments[0, 0], 6 * radial, rtol=1e-5)
    fourth = np.zeros(9)  # P4(1) + P4(-1) + 4 P4(0) along z, and four times sqrt(35) / 8 of cos(4 phi)
    fourth[[4, 8]] = 3.5, 2.9580399
    expected = np.concatenate([np.zeros(15), fourth])[:, None] * radial  # nothing of degree 1 to 3 in a cubic site
    np.testing.assert_allclose(found.moments[0, 1:], expected, atol=1e-6)


def test_pairs_are_folded_over_all_images():
    found = environments(caesium_chloride(4.1), CONFIG)
    assert list(zip(found.centres, found.neighbours, strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    near = radial_functions(np.array([4.1 * np.sqrt(0.75)]), CONFIG)[0]
    np.testing.assert_allclose(found.moments[1, 0], 8 * near, rtol=1e-5)  # the next ones are at 6.8 angstrom


def test_harmonics_of_each_degree_have_unit_length_and_are_orthogonal():
    unit = np.random.default_rng(0).normal(size=(200_000, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = spherical_harmonics(unit, 4)
    for degree in range(5):
        part = found[:, degree**2 : (degree + 1) ** 2]
        np.testing.assert_allclose(np.square(part).sum(1), 1.0, rtol=1e-12)
    gram = found.T @ found / len(unit)
    expected = np.diag(np.concatenate([np.full(2 * n + 1, 1 / (2 * n + 1)) for n in range(5)]))
    np.testing.assert_allclose(gram, expected, atol=0.01)


def test_harmonics_add_up_to_legendre_polynomials():
    one, other = np.random.default_rng(1).normal(size=(2, 50, 3))
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (one, other))
    products = spherical_harmonics(one, 4) * spherical_harmonics(other, 4)
    for degree in range(5):
        sums = products[:, degree**2 : (degree + 1) ** 2].sum(1)
        np.testing.assert_allclose(
            sums, np.polynomial.legendre.Legendre.basis(degree)((one * other).sum(1)), atol=1e-12
        )


def test_radial_functions_fall_to_zero_with_two_derivatives():
    step = 1e-3
    near = radial_functions(CONFIG.cutoff - step * np.arange(4), CONFIG)
    assert np.abs(near[0]).max() == 0.0
    assert np.abs(near[:3]).max() < 1e-8
    assert (radial_functions(np.array([CONFIG.cutoff + 1]), CONFIG) == 0).all()


@pytest.mark.parametrize("edge", [6.0, 6.93, 8.0])
def test_nothing_jumps_where_a_neighbour_leaves(edge):
    small, large = (environments(caesium_chloride(edge + d), CONFIG) for d in (-1e-4, 1e-4))
    one, other = (EnvironmentSet.from_graphs([each]).batch(np.array([0])).blocks[0] for each in (small, large))
    np.testing.assert_allclose(one.scalar, other.scalar, atol=2e-3)
    np.testing.assert_allclose(one.tensor, other.tensor, atol=2e-3)


def test_an_atom_without_neighbours_has_an_empty_environment():
    found = environments(caesium_chloride(30.0), CONFIG)
    assert len(found) == 2
    assert len(found.centres) == 0
    batch = EnvironmentSet.from_graphs([found]).batch(np.array([0]))
    first, second = batch.gather(torch.ones(2, 8, 3), torch.ones(2, 8, 2))
    assert first.abs().max() == 0
    assert second.shape == (2, 24, 2)


def test_matrices_and_stored_pairs_give_the_same_sums(monkeypatch):
    crystals = [caesium_chloride(4.1), caesium_chloride(3.9)]
    made = EnvironmentSet.from_graphs([environments(each, CONFIG) for each in crystals])
    scalars, tensors = torch.randn(4, 8, 5), torch.randn(4, 8, 3)
    dense = made.batch(np.array([1, 0])).gather(scalars, tensors)
    monkeypatch.setattr(module, "_DENSE_ATOMS", 1)
    stored = made.batch(np.array([1, 0])).gather(scalars, tensors)
    for one, other in zip(dense, stored, strict=True):
        torch.testing.assert_close(one, other)


def test_batches_come_back_in_the_order_asked_for():
    three = CrystalArrays(np.array([8, 1, 1]), np.random.default_rng(0).random((3, 3)), 6 * np.eye(3))
    made = EnvironmentSet.from_graphs([environments(each) for each in (three, caesium_chloride(4.1), three)])
    batch = made.batch(np.array([2, 1, 0]))
    numbers = batch.mean(batch.numbers[:, None].float())[:, 0]
    np.testing.assert_allclose(numbers, [10 / 3, 36, 10 / 3], rtol=1e-6)
    part = made.subset(np.array([1, 2]))
    assert part.numbers.tolist() == [55, 17, 8, 1, 1]
    assert EnvironmentSet.joined([part, part]).atoms.tolist() == [2, 3, 2, 3]
    np.testing.assert_allclose(made.shares(95)[1, [17, 55]], 0.5)


def test_settings_out_of_range_are_refused():
    for wrong in ({"cutoff": 1.0}, {"radial": 1}, {"degree": 5}):
        with pytest.raises(ValueError, match="environments need"):
            EnvironmentConfig(**wrong)


def test_too_many_atoms_are_refused(monkeypatch):
    monkeypatch.setenv("ICSG3D_MAX_ATOMS", "1")
    with pytest.raises(InputError, match="2 atoms"):
        environments(caesium_chloride(4.1))
