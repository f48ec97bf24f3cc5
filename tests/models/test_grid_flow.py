"""The flow over latent grids: exact where the velocity is known, independent of company, guided as documented."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from icsg3d.models.grid_flow import GridConditions, GridFlow, GridFlowConfig, matching_loss

TINY = GridFlowConfig(latent=3, width=16, layers=2, heads=2)


@pytest.fixture
def flow():
    torch.manual_seed(0)
    network = GridFlow(TINY)
    for parameter in network.parameters():  # nothing is left at zero, as it is before training
        torch.nn.init.normal_(parameter, std=0.2)
    network.mean.copy_(torch.tensor([1.0, -2.0, 0.5]))
    network.scale.copy_(torch.tensor([2.0, 1.0, 0.3]))
    return network.eval()


def conditions(count, *, bins=-1):
    lattice = torch.tensor([[4.0, 0, 0], [-0.8, 4.3, 0], [0.5, -0.9, 5.9]]).expand(count, 3, 3)
    return GridConditions(lattice, torch.full((count,), 4), torch.full((count,), bins), torch.zeros(count, 94))


def test_company_changes_nothing(flow):
    x, time = torch.randn(3, 2, 2, 3, 3), torch.tensor([0.1, 0.5, 0.9])
    together = flow(x, time, conditions(3))
    alone = flow(x[1:2], time[1:2], conditions(1))
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


def test_what_is_asked_for_reaches_the_velocity(flow):
    x, time = torch.randn(1, 2, 2, 3, 3), torch.tensor([0.5])
    open_ = conditions(1)
    asked = [
        dataclasses.replace(open_, bins=torch.tensor([3])),
        dataclasses.replace(open_, elements=torch.eye(94)[7:8]),
        dataclasses.replace(open_, atoms=torch.tensor([9])),
        dataclasses.replace(open_, lattice=1.1 * open_.lattice),
    ]
    found = [flow(x, time, each) for each in (open_, *asked)]
    for other in found[1:]:
        assert (other - found[0]).abs().max() > 1e-3
    torch.testing.assert_close(flow(x, time, asked[0].unasked()), found[0])


def test_guidance_counts_the_difference_so_many_times(flow):
    x, time = torch.randn(1, 2, 2, 3, 3), torch.tensor([0.5])
    asked = conditions(1, bins=2)
    plain, anyhow = flow(x, time, asked), flow(x, time, asked.unasked())
    torch.testing.assert_close(flow.guided(x, time, asked, 3.0), anyhow + 3 * (plain - anyhow))
    torch.testing.assert_close(flow.guided(x, time, asked, 1.0), plain)


def test_a_straight_flow_is_carried_exactly(flow, monkeypatch):
    """Where the velocity is constant along each way, the integration ends at the data from any start."""
    data = torch.randn(2, 2, 2, 3, 3)
    noise = torch.randn(2, 2, 2, 3, 3)
    target = (data - flow.mean) / flow.scale
    monkeypatch.setattr(GridFlow, "forward", lambda self, x, time, conditions: target - noise)
    torch.testing.assert_close(flow.carry(noise, conditions(2)), data, atol=1e-5, rtol=1e-5)
    half_way = flow.between(data, noise, torch.full((2,), 0.6))
    torch.testing.assert_close(flow.carry(half_way, conditions(2), start=0.6), data, atol=1e-5, rtol=1e-5)


def test_the_loss_of_a_network_that_says_nothing_is_the_spread_of_the_way(flow):
    torch.nn.init.zeros_(flow.last.weight)
    torch.nn.init.zeros_(flow.last.bias)
    latent = flow.mean + flow.scale * torch.randn(64, 2, 2, 3, 3)
    loss = matching_loss(flow, latent, conditions(64), torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(2.0, rel=0.1)  # data and noise, each of unit spread


def test_thinning_leaves_energies_and_elements_open_apart():
    many = dataclasses.replace(conditions(4000, bins=1), elements=torch.ones(4000, 94))
    thinned = many.thinned(0.25, torch.Generator().manual_seed(0))
    energy, element = thinned.bins < 0, thinned.elements.sum(1) == 0
    assert energy.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert element.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (energy & element).float().mean().item() == pytest.approx(0.0625, abs=0.02)
    assert set(thinned.elements.sum(1).tolist()) == {0.0, 94.0}
