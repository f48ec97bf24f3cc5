from __future__ import annotations

import numpy as np
import pytest
import torch

from icsg3d.models.flow import FlowConfig, LatentFlow

# Deviations from the mean along two axes, worked out by hand: variances 18 / 4 and 2 / 4, nothing along the third.
CROSS = torch.tensor([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]]) + torch.tensor([10.0, 20, 30])


def random_flow(seed=0, **sizes):
    """A flow with weights that are nowhere zero."""
    torch.manual_seed(seed)
    flow = LatentFlow(FlowConfig(**({"latent": 5, "components": 3, "width": 16, "blocks": 2, "bins": 4} | sizes)))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    flow.set_components(torch.randn(40, flow.config.latent) * torch.arange(1.0, flow.config.latent + 1) + 2)
    return flow.eval()


class Field(LatentFlow):
    """A flow along a velocity given as a function of place and time."""

    def __init__(self, velocity, latent=1):
        super().__init__(FlowConfig(latent, latent, width=4, blocks=1, bins=2))
        self.velocity = velocity
        self.basis.copy_(torch.eye(latent))
        self.asked = []

    def forward(self, x, time, condition):
        self.asked.append((time.tolist(), condition.tolist()))
        return self.velocity(x, time[:, None])


# Components


def test_components_are_the_axes_of_the_data_in_standard_deviations():
    flow = LatentFlow(FlowConfig(latent=3, components=2))
    flow.set_components(CROSS)
    assert flow.mean.tolist() == [10, 20, 30]
    assert flow.basis.abs().numpy() == pytest.approx(np.array([[np.sqrt(4.5), 0, 0], [0, np.sqrt(0.5), 0]]), abs=1e-6)
    found = flow.components(CROSS).abs().numpy()
    assert found == pytest.approx(np.sqrt(2) * np.array([[1, 0], [1, 0], [0, 1], [0, 1]]), abs=1e-5)


def test_components_of_any_data_are_uncorrelated_and_of_unit_variance():
    torch.manual_seed(0)
    latent = torch.randn(200, 6) @ torch.randn(6, 6) + 4
    flow = LatentFlow(FlowConfig(latent=6, components=4))
    flow.set_components(latent)
    found = flow.components(latent).double()
    assert found.mean(0).numpy() == pytest.approx(np.zeros(4), abs=1e-5)
    assert (found.T @ found / 200).numpy() == pytest.approx(np.eye(4), abs=1e-4)
    variances = flow.basis.square().sum(1)
    assert (variances[:-1] > variances[1:]).all()  # the leading ones
    assert variances.numpy() == pytest.approx(np.linalg.eigvalsh(np.cov(latent.T, bias=True))[:1:-1], rel=1e-3)


def test_samples_are_composed_of_what_components_gives_back():
    flow = random_flow()
    torch.nn.init.zeros_(flow.last.weight)
    torch.nn.init.zeros_(flow.last.bias)  # no velocity: the noise is the sample
    noise = torch.randn(20, 3)
    latent = flow.sample(noise, torch.full((20,), -1))
    assert latent.shape == (20, 5)
    assert flow.components(latent).numpy() == pytest.approx(noise.numpy(), abs=1e-5)
    # What lies outside of the components stays at the mean.
    inside = flow.basis.T @ torch.linalg.pinv(flow.basis.T)
    assert ((latent - flow.mean) @ (torch.eye(5) - inside)).abs().max() < 1e-4


def test_an_axis_along_which_nothing_differs_is_finite():
    flow = LatentFlow(FlowConfig(latent=3, components=3))
    flow.set_components(CROSS)
    assert flow.components(CROSS).isfinite().all()
    assert flow.components(CROSS)[:, 2].abs().max() < 1e-3
    drawn = flow.sample(torch.randn(50, 3), torch.full((50,), -1))
    assert (drawn[:, 2] - 30).abs().max() < 1e-3


# The way


@pytest.mark.parametrize(
    ("velocity", "steps", "expected"),
    [
        (lambda x, t: torch.full_like(x, 3.0), 1, 2 + 3),
        (lambda x, t: 2 * t + 0 * x, 1, 2 + 1),  # of time 0 and 1, so the trapezoid is exact
        (lambda x, t: 3 * t**2 + 0 * x, 2, 2 + 0.5 * (0 / 2 + 3 / 4 + 3 / 2)),
        (lambda x, t: x, 1, 2 * 2.5),  # 1 + 1 + 1 / 2
        (lambda x, t: x, 4, 2 * (1 + 1 / 4 + 1 / 32) ** 4),
        (lambda x, t: x, 20, 2 * np.e),
    ],
)
def test_the_way_is_integrated_by_heuns_method(velocity, steps, expected):
    found = Field(velocity).sample(torch.tensor([[2.0]]), torch.tensor([-1]), steps)
    assert found.item() == pytest.approx(expected, rel=1e-6 if steps < 20 else 1e-3)


def test_time_goes_from_zero_to_one_and_the_condition_goes_along():
    field = Field(lambda x, t: x)
    field.sample(torch.zeros(2, 1), torch.tensor([1, -1]), steps=2)
    assert [times for times, _ in field.asked] == [[0, 0], [0.5, 0.5], [0.5, 0.5], [1, 1]]
    assert all(condition == [1, -1] for _, condition in field.asked)


@pytest.mark.parametrize(("guidance", "expected"), [(1.0, [2.0, 5, 1]), (0.0, [1.0, 1, 1]), (3.0, [4.0, 13, 1])])
def test_what_the_condition_changes_counts_as_often_as_asked(guidance, expected):
    flow = Field(None)
    velocities = {0: 2.0, 1: 5.0, -1: 1.0}  # such as 1 + 3 * (5 - 1)
    flow.forward = lambda x, time, condition: torch.tensor([[velocities[bin_]] for bin_ in condition.tolist()])
    found = flow.sample(torch.zeros(3, 1), torch.tensor([0, 1, -1]), steps=2, guidance=guidance)
    assert found[:, 0].tolist() == pytest.approx(expected)


def test_guidance_changes_nothing_without_a_condition():
    flow, noise = random_flow(), torch.randn(4, 3)
    for condition, same in ((-1, True), (2, False)):
        bins = torch.full((4,), condition)
        assert torch.equal(flow.sample(noise, bins, guidance=4.0), flow.sample(noise, bins)) == same


def test_the_noise_is_left_alone():
    noise = torch.randn(4, 3)
    before = noise.clone()
    random_flow().sample(noise, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(noise, before)


# The network


def test_velocities_differ_with_place_time_and_condition():
    flow = random_flow()
    x, time, condition = torch.randn(1, 3), torch.tensor([0.3]), torch.tensor([1])
    base = flow(x, time, condition)
    assert base.shape == (1, 3)
    assert (flow(x + 0.1, time, condition) - base).abs().max() > 1e-3
    assert (flow(x, time + 0.1, condition) - base).abs().max() > 1e-3
    others = [flow(x, time, torch.tensor([other])) for other in (-1, 0, 2, 3)]
    assert all((other - base).abs().max() > 1e-3 for other in others)


def test_any_negative_condition_is_none():
    flow = random_flow()
    x, time = torch.randn(1, 3), torch.tensor([0.3])
    none = flow(x, time, torch.tensor([-1]))
    assert torch.equal(flow(x, time, torch.tensor([-7])), none)
    with torch.no_grad():
        flow.condition.weight.zero_()
    assert torch.equal(flow(x, time, torch.tensor([2])), none)


def test_rows_do_not_see_each_other():
    flow = random_flow()
    x, time, condition = torch.randn(6, 3), torch.rand(6), torch.tensor([-1, 0, 1, 2, 3, -1])
    together = flow(x, time, condition)
    for row in range(6):
        one = slice(row, row + 1)
        assert together[one].detach().numpy() == pytest.approx(
            flow(x[one], time[one], condition[one]).detach().numpy(), abs=1e-5
        )


def test_a_new_flow_begins_without_its_blocks():
    torch.manual_seed(0)
    flow = LatentFlow(FlowConfig(latent=3, components=3, width=8, blocks=3))
    x = torch.randn(4, 3)
    assert torch.equal(flow(x, torch.rand(4), torch.arange(4)), flow.last(flow.first(x)))
    loss = flow(x, torch.rand(4), torch.arange(4)).square().sum()
    loss.backward()
    assert all(block.second.weight.grad.abs().max() > 0 for block in flow.blocks)  # and learns to use them
