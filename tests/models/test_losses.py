from __future__ import annotations

import math

import pytest
import torch

from icsg3d.models.losses import atoms_alike, grid_loss, kl_loss, perceptual_loss, segmentation_loss
from icsg3d.models.unet import Segmentation
from icsg3d.models.vae import Posterior


def test_the_grid_loss_sums_over_channels_and_averages_over_voxels():
    true = torch.zeros(2, 3, 2, 2, 2)
    decoded = true.clone()
    decoded[0, :, 0, 0, 0] = torch.tensor([1.0, 2.0, -3.0])  # 14 in one of 16 voxels
    decoded[1, 0] = 0.5  # 0.25 in eight
    assert grid_loss(decoded, true).item() == pytest.approx((14 + 8 * 0.25) / 16)


def test_the_grid_loss_of_half_precision_is_worked_out_in_single():
    decoded = torch.full((1, 1, 2, 2, 2), 300.0, dtype=torch.float16)  # 300^2 is beyond half precision
    loss = grid_loss(decoded, torch.zeros(1, 1, 2, 2, 2))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(90_000)


def test_the_perceptual_loss_sums_the_means_of_the_levels():
    true = [torch.zeros(1, 2, 2, 2, 2), torch.zeros(1, 4, 1, 1, 1)]
    decoded = [torch.full((1, 2, 2, 2, 2), 0.5), torch.tensor([2.0, 0, 0, 0]).reshape(1, 4, 1, 1, 1)]
    assert perceptual_loss(decoded, true).item() == pytest.approx(0.25 + 4 / 4)
    assert perceptual_loss(true, true) == 0
    with pytest.raises(ValueError, match="shorter"):
        perceptual_loss(decoded, true[:1])


# Two voxels, three classes: background with logits 0, ln 2, 0; class 2 with logits 0, 0, ln 6.
LOGITS = torch.tensor([[0.0, math.log(2), 0.0], [0.0, 0.0, math.log(6)]]).T.reshape(1, 3, 2, 1, 1)
SPECIES = torch.tensor([0, 2]).reshape(1, 2, 1, 1)
ATOM = torch.tensor([math.log(3), math.log(4)]).reshape(1, 2, 1, 1)
BACKGROUND, HELIUM = -math.log(1 / 4), -math.log(6 / 8)
"""Cross-entropies of the two voxels; of the mask, that of the first, with 3/4, is that of the background, too."""


def test_the_species_loss_weighs_the_background():
    by_class, by_mask = segmentation_loss(Segmentation(LOGITS, ATOM), SPECIES, 0.25)
    assert by_class.item() == pytest.approx((0.25 * BACKGROUND + HELIUM) / 1.25)
    # The mask: the first voxel is none with probability 1 - 3/4, the second one with 4/5.
    assert by_mask.item() == pytest.approx((-math.log(1 / 4) - math.log(4 / 5)) / 2)


def test_voxels_have_weights_of_their_own_and_crystals_losses_of_their_own():
    two = [torch.cat([each, each]) for each in (LOGITS, ATOM, SPECIES)]
    weights = torch.tensor([[1.0, 1.0], [2.0, 0.5]]).reshape(2, 2, 1, 1)
    by_class, by_mask = segmentation_loss(Segmentation(*two[:2]), two[2], 0.25, weights)
    assert by_class.tolist() == pytest.approx(
        [(0.25 * BACKGROUND + HELIUM) / 1.25, (0.5 * BACKGROUND + 0.5 * HELIUM) / 1.0]
    )
    first, second = -math.log(1 / 4), -math.log(4 / 5)
    assert by_mask.tolist() == pytest.approx([(first + second) / 2, (2 * first + 0.5 * second) / 2])


def test_perfect_logits_cost_nothing():
    species = torch.tensor([0, 8, 94, 0, 0, 1, 8, 3]).reshape(1, 2, 2, 2)
    logits = 100 * torch.nn.functional.one_hot(species, 95).permute(0, 4, 1, 2, 3).float()
    atom = 200 * (species > 0).float() - 100
    by_class, by_mask = segmentation_loss(Segmentation(logits, atom), species, 0.15)
    assert by_class.item() == pytest.approx(0, abs=1e-6)
    assert by_mask.item() == pytest.approx(0, abs=1e-6)
    wrong, _ = segmentation_loss(Segmentation(logits.roll(1, 1), atom), species, 0.15)
    assert wrong > 50


def test_voxels_of_small_atoms_weigh_more():
    # Atoms of 1, 3 and 2 voxels: 2 each on average. The second crystal has one of 4 and none of the others.
    atoms = torch.tensor([[0, 1, 1, 1, 2, 2, -1, -1], [-1, -1, 1, 1, 1, 1, -1, -1]]).reshape(2, 2, 2, 2)
    weights = atoms_alike(atoms).flatten(1)
    assert weights[0].tolist() == pytest.approx([2, 2 / 3, 2 / 3, 2 / 3, 1, 1, 1, 1])
    assert weights[1].tolist() == [1] * 8
    assert atoms_alike(torch.full((1, 2, 2, 2), -1)).flatten().tolist() == [1] * 8


def test_the_divergence_from_the_unit_gaussian():
    assert kl_loss(Posterior(torch.zeros(3, 4), torch.zeros(3, 4))) == 0
    # N(2, 3^2): (4 + 9 - 1) / 2 - ln 3; N(-1, 1): 1 / 2; averaged over the two crystals, summed over dimensions
    mean = torch.tensor([[2.0, -1.0], [0.0, 0.0]])
    log_variance = torch.tensor([[2 * math.log(3), 0.0], [0.0, 0.0]])
    expected = ((4 + 9 - 1) / 2 - math.log(3) + 0.5) / 2
    assert kl_loss(Posterior(mean, log_variance)).item() == pytest.approx(expected)


def test_the_divergence_is_that_of_torch():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    found = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    assert kl_loss(Posterior(mean, log_variance)).item() == pytest.approx(found.sum(1).mean().item(), rel=1e-5)
