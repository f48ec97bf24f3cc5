"""The latent-grid autoencoder, untrained: shapes, symmetry of its maps, independence of company; and its losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.models.grid_decoding import LatentGrid, Orbits, alike_by_orbit, decode_grid, encode_crystal, read_grid
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
    again = decode_grid(network, first, 0.0)
    assert (again.crystal is None) == bool(again.reason)
    sites = read_grid(network, first)
    assert sites.numbers.shape == sites.certainty.shape


def test_what_an_untrained_network_says_is_no_crystal_or_one(network):
    empty = LatentGrid(np.full((2, 2, 3, 4), 0.0, dtype=np.float32), crystal().lattice, 3)
    decoded = decode_grid(network, empty, 0.0)
    assert (decoded.crystal is None) == bool(decoded.reason)


def test_equivalent_atoms_get_the_element_that_they_are_most_likely_together():
    shares = np.zeros((3, 94))
    shares[0, 28], shares[0, 46] = 0.6, 0.4  # Cu rather than Ag
    shares[1, 46], shares[1, 28] = 0.9, 0.1
    shares[2, 78] = 1.0
    sites = np.array([[0.5, 0.5, 0.01], [0.0, 0.5, 0.5], [0.0, 0.0, 0.99]])
    read = Sites(shares.argmax(1) + 1, sites, shares)
    base = Orbits(np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0.5, 0]]), np.array([0, 1, 1]))
    lattice = 3.8 * np.eye(3)
    found = alike_by_orbit(read, base, lattice)
    assert found.numbers.tolist() == [47, 47, 79]
    np.testing.assert_allclose(found.certainty, [0.65, 0.65, 1.0])
    far = Sites(read.numbers, sites + np.array([[0.3, 0, 0], [0, 0, 0], [0, 0, 0]]), shares)
    assert alike_by_orbit(far, base, lattice).numbers.tolist() == [29, 47, 79]
    more = Orbits(np.zeros((2, 3)), np.array([0, 0]))
    assert alike_by_orbit(read, more, lattice).numbers.tolist() == [29, 47, 79]


def test_orbits_are_those_of_the_symmetry():
    gold = CrystalArrays(
        np.array([79, 29, 29, 29]), np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), 3.75 * np.eye(3)
    )
    labels = Orbits.of(gold, 0.1).labels
    assert len(set(labels[1:])) == 1
    assert labels[0] != labels[1]
