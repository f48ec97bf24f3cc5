from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from icsg3d.models.flow import FlowConfig, LatentFlow
from icsg3d.training import flow as training
from icsg3d.training.flow import Cloud, FlowOptions, fit_flow, matching_loss

# Two clusters apart in the first dimension, three quarters of the crystals in the left one, which is bin 0. Recombined
# crystals lie far from both in the second dimension.
CENTRES = torch.tensor([[-4.0, 0, 1], [4, 0, -1]])
FAR = torch.tensor([0.0, 12, 0])
BINS = 2
SIZES = {"steps": 1500, "batch_size": 64, "width": 32, "every": 300}
TINY = FlowOptions(**SIZES, learning_rate=2e-2, unlabelled=0.4, recombined=0.3)
QUICK = FlowOptions(steps=6, width=8, batch_size=16, every=2)


def clouds(count=200, recombined=True):
    random = torch.Generator().manual_seed(0)
    which = (torch.arange(count) % 4 == 0).long()
    mean = CENTRES[which] + 0.4 * torch.randn(count, 3, generator=random)
    spread = torch.full((count, 3), 0.2)
    made = {
        "unlabelled": Cloud(mean, spread, torch.full((count,), -1)),
        "labelled": Cloud(mean, spread, torch.where(torch.arange(count) % 5 == 0, -1, which)),
    }
    if recombined:
        far = FAR + 0.4 * torch.randn(count, 3, generator=random)
        made["recombined"] = Cloud(far, spread, torch.full((count,), -1))
    return made


def weights(flow):
    return torch.cat([parameter.detach().flatten() for parameter in flow.parameters()])


def drawn(flow, condition, count=1000):
    noise = torch.randn(count, flow.config.components, generator=torch.Generator().manual_seed(1))
    return flow.sample(noise, torch.full((count,), condition)).numpy()


@pytest.fixture(scope="module")
def fitted():
    return fit_flow(clouds(), BINS, TINY)


# What is learned


def test_all_crystals_are_drawn_with_their_shares(fitted):
    found = drawn(fitted, -1)
    left = found[:, 0] < 0
    assert left.mean() == pytest.approx(0.75, abs=0.06)
    for side, centre in ((left, CENTRES[0]), (~left, CENTRES[1])):
        assert np.median(found[side], axis=0) == pytest.approx(centre.numpy(), abs=0.35)
        nearest = np.linalg.norm(found[side] - centre.numpy(), axis=1)
        assert np.mean(nearest < 2) > 0.9
        assert np.median(nearest) > 0.3  # and not all at the centre


@pytest.mark.parametrize("condition", [0, 1])
def test_a_bin_draws_its_own_crystals_alone(fitted, condition):
    found = drawn(fitted, condition)
    assert np.mean(np.sign(found[:, 0]) == np.sign(CENTRES[condition, 0].item())) > 0.97
    assert np.median(found, axis=0) == pytest.approx(CENTRES[condition].numpy(), abs=0.35)


def test_recombined_crystals_have_a_bin_of_their_own_and_are_drawn_from_no_other(fitted):
    assert fitted.config.bins == BINS + 1
    assert np.median(drawn(fitted, BINS), axis=0) == pytest.approx(FAR.numpy(), abs=1.5)
    for condition in (-1, 0, 1):
        assert np.mean(np.abs(drawn(fitted, condition)[:, 1]) > 6) < 0.01


# The loss


class Known(LatentFlow):
    """A flow whose velocity is a given function, in the coordinates of the latent space itself."""

    def __init__(self, velocity, size=2):
        super().__init__(FlowConfig(size, size, width=4, blocks=1, bins=2))
        self.basis.copy_(torch.eye(size))
        self.velocity = velocity

    def forward(self, x, time, condition):
        return self.velocity(x, time[:, None])


def test_the_velocity_that_leads_to_the_data_has_no_loss():
    place = torch.tensor([3.0, -2.0])
    latent, bins = place.repeat(500, 1), torch.full((500,), -1)
    random = torch.Generator().manual_seed(0)
    right = Known(lambda x, t: (place - x) / (1 - t))
    assert matching_loss(right, latent, bins, random).item() < 1e-8
    standing = Known(lambda x, t: torch.zeros_like(x))
    # The mean square of place - noise: that of the place and the variance of the noise.
    assert matching_loss(standing, latent.repeat(20, 1), bins.repeat(20), random).item() == pytest.approx(
        (9 + 4) / 2 + 1, rel=0.05
    )


def test_times_lie_within_zero_and_one_and_mostly_half_way():
    asked = []

    def velocity(x, t):
        asked.append(t)
        return torch.zeros_like(x)

    matching_loss(Known(velocity), torch.zeros(4000, 2), torch.full((4000,), -1), torch.Generator().manual_seed(0))
    time = asked[0]
    assert ((time > 0) & (time < 1)).all()
    middle = ((time - 0.5).abs() < 0.25).double().mean()
    assert middle == pytest.approx(math.erf(math.log(3) / math.sqrt(2)), abs=0.03)  # 0.75 is the sigmoid of ln 3


# Batches


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("unlabelled", "labelled", "recombined"), (77, 77, 102)),  # 0.4 of 256 are 102, half of the rest 77
        (("unlabelled", "labelled"), (128, 128, 0)),
        (("unlabelled", "recombined"), (154, 0, 102)),
        (("unlabelled",), (256, 0, 0)),
    ],
)
def test_batches_have_their_shares_of_each_source(names, expected):
    zeros = torch.zeros(10, 2)
    places = {"unlabelled": 1.0, "labelled": 2.0, "recombined": 3.0}
    bins = {"unlabelled": -1, "labelled": 1, "recombined": -1}
    sources = {n: Cloud(zeros + places[n], zeros, torch.full((10,), bins[n])) for n in names}
    latent, found = training._batch(sources, FlowOptions(), 5, torch.Generator().manual_seed(0))
    assert tuple((latent[:, 0] == places[name]).sum().item() for name in places) == expected
    assert found[latent[:, 0] == 1].eq(-1).all()
    assert found[latent[:, 0] == 2].eq(1).all()
    assert found[latent[:, 0] == 3].eq(5).all()  # the last bin
    assert all(cloud.bins.eq(bins[name]).all() for name, cloud in sources.items())  # which are left alone


def test_clouds_are_drawn_from_with_their_spread():
    cloud = Cloud(torch.tensor([[5.0, -5], [9, 9]]), torch.tensor([[0.5, 2.0], [0, 0]]), torch.tensor([3, 4]))
    latent, bins = cloud.draw(4000, torch.Generator().manual_seed(0))
    assert (bins == 3).double().mean() == pytest.approx(0.5, abs=0.03)
    assert latent[bins == 4].eq(9).all()
    assert latent[bins == 3].mean(0).numpy() == pytest.approx(np.array([5, -5]), abs=0.1)
    assert latent[bins == 3].std(0).numpy() == pytest.approx(np.array([0.5, 2]), rel=0.06)


# Sizes and steps


@pytest.mark.parametrize(("count", "size", "asked", "expected"), [(9, 6, 96, 4), (40, 6, 96, 6), (40, 6, 3, 3)])
def test_no_more_components_flow_than_there_are(count, size, asked, expected):
    random = torch.Generator().manual_seed(0)
    cloud = Cloud(torch.randn(count, size, generator=random), torch.ones(count, size), torch.full((count,), -1))
    flow = fit_flow({"unlabelled": cloud}, 4, dataclasses.replace(QUICK, components=asked))
    assert (flow.config.latent, flow.config.components, flow.config.width, flow.config.bins) == (size, expected, 8, 5)
    assert flow.mean.numpy() == pytest.approx(cloud.mean.mean(0).numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [(None, 20, 80), (None, 3602, 14_408), (None, 4000, 15_000), (24_000, 20, 24_000), (1, 4000, 1)],
)
def test_few_crystals_take_few_steps_if_no_number_is_given(steps, count, expected):
    assert FlowOptions(steps=steps).steps_for(count) == expected


def test_so_many_steps_are_taken(watched):
    fit_flow(clouds(20), BINS, QUICK)
    assert watched["fitting the latent density"] == [(step, 6) for step in range(7)]


def test_fitting_draws_the_average_of_the_weights_along():
    average, new = (LatentFlow(FlowConfig(2, 2, width=4, blocks=1, bins=2)) for _ in range(2))
    average.requires_grad_(requires_grad=False)
    for step, value in enumerate((3.0, 5.0, 10.0), start=1):
        for parameter in new.parameters():
            torch.nn.init.constant_(parameter, value)
        training._move_average(average, new, step)
    # The shares of the new weights are 10/10, 10/11, 10/12: 3, then 3 + 20/11 = 53/11, then 53/11 + (57/11) 5/6.
    kept = 53 / 11 + 57 / 11 * 5 / 6
    assert weights(average).numpy() == pytest.approx(kept, rel=1e-6)
    training._move_average(average, new, 10_000)
    assert weights(average).numpy() == pytest.approx(kept + 0.002 * (10 - kept), rel=1e-6)


# Which weights are kept


def scripted(monkeypatch, losses):
    """Let the crystals held out have given losses; return the weights that were looked at."""
    seen = []

    def look(flow, judged, seed):
        seen.append(weights(flow).clone())
        return losses[len(seen) - 1]

    monkeypatch.setattr(training, "_held_out_loss", look)
    return seen


def test_the_best_weights_are_kept(monkeypatch, watched):
    seen = scripted(monkeypatch, [3.0, 1.0, 2.0, 1.0, 1.5, 4.0, 4.0])
    flow = fit_flow(clouds(20), BINS, dataclasses.replace(QUICK, steps=14))
    assert len(seen) == 7  # to the end, as the learning rate falls to it, however long nothing is better
    assert torch.equal(weights(flow), seen[1])
    assert all(not torch.equal(seen[1], other) for other in seen[2:])
    assert not flow.training
    assert watched["fitting the latent density"] == [(step, 14) for step in range(15)]


def test_the_last_step_is_looked_at(monkeypatch):
    seen = scripted(monkeypatch, [5.0, 6.0, 6.0, 4.0, 6.0, 6.0, 3.0])
    flow = fit_flow(clouds(20), BINS, dataclasses.replace(QUICK, steps=13))
    assert len(seen) == 7
    assert torch.equal(weights(flow), seen[6])


def test_crystals_held_out_judge_and_are_not_learned_from(monkeypatch):
    learned, judged = set(), set()
    given = clouds(50)
    given = {n: Cloud(c.mean, torch.zeros_like(c.mean), c.bins) for n, c in given.items()}
    own = {tuple(row) for row in given["unlabelled"].mean.tolist()}

    def loss(flow, latent, condition, random, *, half=False):
        learning = torch.is_grad_enabled()
        assert half == (learning and training.has_bfloat16("cpu"))
        (learned if learning else judged).update(map(tuple, latent.tolist()))
        return matching_loss(flow, latent, condition, random, half=half)

    monkeypatch.setattr(training, "matching_loss", loss)
    fit_flow(given, BINS, dataclasses.replace(QUICK, steps=60, batch_size=64))
    assert judged < own
    assert len(judged) == 5
    assert learned & own == own - judged
    assert learned - own <= {tuple(row) for row in given["recombined"].mean.tolist()}
    judged.clear()
    fit_flow(given, BINS, dataclasses.replace(QUICK, steps=4, held_out=0.0))
    assert judged == own


def test_looks_at_the_same_flow_find_the_same_loss():
    flow, cloud = fit_flow(clouds(20), BINS, QUICK), clouds(20)["unlabelled"]
    first = training._held_out_loss(flow, cloud, 3)
    torch.rand(5)
    assert training._held_out_loss(flow, cloud, 3) == first
    assert training._held_out_loss(flow, cloud, 4) != first


# Randomness


def test_the_fit_depends_on_its_seed_alone():
    torch.manual_seed(1)
    one = fit_flow(clouds(), BINS, QUICK)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    other = fit_flow(clouds(), BINS, QUICK)
    assert torch.equal(torch.random.get_rng_state(), state)  # and others do not depend on it
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    third = fit_flow(clouds(), BINS, dataclasses.replace(QUICK, seed=1))
    assert not torch.isclose(weights(third), weights(one)).all()
