"""The latent-grid autoencoder, untrained: shapes, symmetry of its maps, independence of company; and its losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.crystals.symmetry import symmetry_operations
from icsg3d.models.grid_decoding import LatentGrid, Orbits, as_symmetric, decoded_sites, encode_crystal, read_grid
from icsg3d.models.grid_losses import GridLossConfig, grid_losses
from icsg3d.models.grid_vae import DecodedFields, GridPosterior, GridVAE, GridVAEConfig
from icsg3d.representation.fields import nearest_atoms
from icsg3d.representation.sites import Sites

TINY = GridVAEConfig(
    latent=4, species=8, embedding=8, encoder=(8, 8, 8), decoder=(8, 8, 8), encoder_blocks=(1, 1, 1),
    decoder_blocks=(1, 1, 1),
)  # fmt: skip
SHAPE = (8, 8, 12)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return GridVAE(TINY).eval()


def crystal(seed=0, atoms=3):
    random = np.random.default_rng(seed)
    lattice = np.array([[4.0, 0, 0], [-0.8, 4.3, 0], [0.5, -0.9, 5.9]])
    return CrystalArrays(random.integers(1, 95, atoms), random.random((atoms, 3)), lattice)


def moved(given, shift):
    return CrystalArrays(given.numbers, (given.frac_coords + shift) % 1, given.lattice)


def test_latent_grids_have_a_vector_for_each_block(network):
    posterior = network.encode(CrystalBatch.from_arrays([crystal()]), SHAPE)
    assert posterior.mean.shape == (1, 2, 2, 3, 4)
    decoded = network.decode(posterior.mean, torch.as_tensor(crystal().lattice, dtype=torch.float32)[None])
    assert decoded.height.shape == (1, *SHAPE)
    assert decoded.offset.shape == (1, *SHAPE, 3)


def test_translation_by_a_block_rolls_the_latent_grid(network):
    first = crystal()
    second = moved(first, [4 / 8, 0, 8 / 12])
    means = network.encode(CrystalBatch.from_arrays([first, second]), SHAPE).mean
    torch.testing.assert_close(means[1], means[0].roll((1, 0, 2), (0, 1, 2)), atol=1e-4, rtol=1e-4)
    lattice = torch.as_tensor(first.lattice, dtype=torch.float32)[None]
    fields = network.decode(means[:1], lattice)
    rolled = network.decode(means[:1].roll((1, 0, 2), (1, 2, 3)), lattice)
    torch.testing.assert_close(rolled.height, fields.height.roll((4, 0, 8), (1, 2, 3)), atol=1e-4, rtol=1e-4)


def test_rotation_order_of_atoms_padding_and_company_change_nothing(network):
    first = crystal(1)
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turned = CrystalArrays(first.numbers[::-1].copy(), first.frac_coords[::-1].copy(), first.lattice @ rotation)
    means = network.encode(CrystalBatch.from_arrays([first, turned, crystal(2, atoms=9)]), SHAPE).mean
    alone = network.encode(CrystalBatch.from_arrays([first]), SHAPE).mean
    torch.testing.assert_close(means[1], means[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alone[0], means[0], atol=1e-5, rtol=1e-5)


def test_divergence_is_that_of_normal_distributions():
    posterior = GridPosterior(torch.full((1, 1, 1, 2, 3), 2.0), torch.full((1, 1, 1, 2, 3), math.log(0.25)))
    true = torch.distributions.kl_divergence(torch.distributions.Normal(2.0, 0.5), torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(posterior.divergence(), 6 * true[None])


def perfect(network, given):
    """Fields as they should be, and the loss of them."""
    batch = CrystalBatch.from_arrays([given])
    targets = nearest_atoms(batch, SHAPE, TINY.fields)
    offset = torch.zeros(math.prod(SHAPE), 3)
    offset[targets.point] = targets.offset
    hidden = torch.zeros(1, *SHAPE, 8)
    decoded = DecodedFields(torch.logit(targets.height, eps=1e-6).view(1, *SHAPE), offset.view(1, *SHAPE, 3), hidden)
    posterior = GridPosterior(torch.zeros(1, 2, 2, 3, 4), torch.zeros(1, 2, 2, 3, 4))
    return batch, decoded, posterior


def test_true_fields_lose_nothing_but_species(network, monkeypatch):
    batch, decoded, posterior = perfect(network, crystal())
    monkeypatch.setattr(network, "species", lambda hidden: torch.zeros(len(hidden), 94))
    losses = grid_losses(network, decoded, posterior, batch, SHAPE, GridLossConfig())
    assert losses.height.item() == pytest.approx(0, abs=5e-3)  # heights are kept 1e-6 away from 0 and 1
    assert losses.place.item() == pytest.approx(0, abs=1e-5)
    assert losses.species.item() == pytest.approx(math.log(94), rel=1e-5)
    assert losses.divergence.item() == 0


def test_a_site_that_is_off_costs_as_documented(network):
    batch, decoded, posterior = perfect(network, crystal())
    step = torch.as_tensor(crystal().lattice / np.array(SHAPE)[:, None], dtype=torch.float32)
    off = torch.tensor([0.1, 0, 0]) @ torch.linalg.inv(step)  # 0.1 angstrom along x, everywhere
    decoded = decoded._replace(offset=decoded.offset + off)
    losses = grid_losses(network, decoded, posterior, batch, SHAPE, GridLossConfig(exactness=0.1))
    assert losses.place.item() == pytest.approx(math.sqrt(2) - 1, rel=1e-4)
    total = losses.total(GridLossConfig(height=0.5, divergence=0.1), share=0.5)
    assert total.item() == pytest.approx(
        0.5 * losses.height.item() + losses.place.item() + losses.species.item(), rel=1e-5
    )


def test_a_crystal_is_encoded_with_its_canonical_origin(network):
    given = crystal(4)
    first, second = (encode_crystal(network, each) for each in (given, moved(given, [0.13, 0.4, 0.77])))
    np.testing.assert_allclose(first.grid, second.grid, atol=1e-3)
    assert first.atoms == 3
    again = decoded_sites(read_grid(network, first), first, 0.0)
    assert (again.crystal is None) == bool(again.reason)
    sites = read_grid(network, first)
    assert sites.numbers.shape == sites.certainty.shape


def test_what_an_untrained_network_says_is_no_crystal_or_one(network):
    empty = LatentGrid(np.full((2, 2, 3, 4), 0.0, dtype=np.float32), crystal().lattice, 3)
    decoded = decoded_sites(read_grid(network, empty), empty, 0.0)
    assert (decoded.crystal is None) == bool(decoded.reason)


def rutile(u=0.305):
    places = [
        [0, 0, 0],
        [0.5, 0.5, 0.5],
        [u, u, 0],
        [1 - u, 1 - u, 0],
        [0.5 + u, 0.5 - u, 0.5],
        [0.5 - u, 0.5 + u, 0.5],
    ]
    return CrystalArrays(np.array([22, 22, 8, 8, 8, 8]), np.array(places) % 1, np.diag([4.594, 4.594, 2.959]))


def read_as(crystal, frac_coords=None, order=slice(None)):
    """Return atoms as they are read, each sure of its element, in another order."""
    numbers = crystal.numbers[order]
    sites = crystal.frac_coords if frac_coords is None else frac_coords
    return Sites(numbers, sites[order] % 1, np.eye(94)[numbers - 1])


def test_equivalent_atoms_get_the_element_that_they_are_most_likely_together():
    base, order = rutile(), [3, 0, 5, 2, 1, 4]
    read = read_as(base, order=order)
    read.shares[0] = 0.55 * np.eye(94)[8] + 0.45 * np.eye(94)[15]  # F rather than S
    for row in (2, 3, 5):
        read.shares[row] = 0.6 * np.eye(94)[15] + 0.4 * np.eye(94)[8]
    found = as_symmetric(read, Orbits.of(base, 0.1), base.lattice)
    assert found.numbers.tolist() == [16, 22, 16, 16, 22, 16]
    np.testing.assert_allclose(found.certainty, [0.5625, 1, 0.5625, 0.5625, 1, 0.5625])


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [3, 0, 5, 2, 1, 4]])
def test_draws_keep_the_symmetry_of_their_base_and_its_free_coordinates(order):
    base, drawn = rutile(), rutile(0.32)
    random = np.random.default_rng(3)
    noisy = drawn.frac_coords + random.uniform(-0.25, 0.25, (6, 3)) @ np.linalg.inv(base.lattice)
    read = read_as(base, noisy, order)
    found = as_symmetric(read, Orbits.of(base, 0.1), base.lattice)
    crystal = CrystalArrays(found.numbers, found.frac_coords, base.lattice)
    assert len(symmetry_operations(crystal, 1e-6).rotations) == 16  # P4_2/mnm
    assert len(symmetry_operations(CrystalArrays(base.numbers, noisy, base.lattice), 1e-6).rotations) == 1
    # The four O atoms move along the diagonals by the mean of their own noise along it.
    signs = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])
    mean = 0.32 + ((noisy - drawn.frac_coords)[2:, :2] * signs).mean()
    metal = crystal.frac_coords[order.index(0)]
    offset = crystal.frac_coords[order.index(2)] - metal
    np.testing.assert_allclose((offset - np.round(offset))[:2], [mean, mean], atol=1e-9)
    kept = as_symmetric(read, Orbits.of(base, 0.1), base.lattice, moved=False)
    np.testing.assert_array_equal(kept.frac_coords, read.frac_coords)


def test_atoms_that_left_their_sites_stay_as_they_are():
    base = rutile()
    orbits = Orbits.of(base, 0.1)
    far = read_as(base, base.frac_coords + np.array([[0, 0, 0]] * 5 + [[0.25, 0, 0]]))
    assert as_symmetric(far, orbits, base.lattice) is far
    fewer = Sites(*(values[:5] for values in (far.numbers, base.frac_coords, far.shares)))
    assert as_symmetric(fewer, orbits, base.lattice) is fewer


def test_orbits_are_those_of_the_symmetry():
    gold = CrystalArrays(
        np.array([79, 29, 29, 29]), np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), 3.75 * np.eye(3)
    )
    labels = Orbits.of(gold, 0.1).labels
    assert len(set(labels[1:])) == 1
    assert labels[0] != labels[1]
