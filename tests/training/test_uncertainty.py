from __future__ import annotations

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.models.environment_net import EnvironmentNetConfig
from icsg3d.models.properties import PropertyModel, PropertyModelConfig
from icsg3d.models.targets import unknown_property
from icsg3d.models.uncertainty import Uncertainty, UncertaintyConfig
from icsg3d.representation.environments import EnvironmentSet, environments
from icsg3d.training.data import PropertySet
from icsg3d.training.uncertainty import cross_fitted, fit_terms, with_uncertainty


def module(count=400, *, disagreement=False):
    found = Uncertainty(UncertaintyConfig(2, 2, count, disagreement))
    found.directions.copy_(torch.eye(2))
    found.references.copy_(torch.randn(count, 2, generator=torch.Generator().manual_seed(0)))
    return found


def test_distances_are_to_the_two_nearest():
    found = Uncertainty(UncertaintyConfig(2, 2, 3))
    found.directions.copy_(torch.eye(2))
    found.references.copy_(torch.tensor([[0.0, 0.0], [3.0, 4.0], [100.0, 0.0]]))
    assert float(found.distance(torch.tensor([[0.0, 0.0]]))) == pytest.approx(2.5)


def test_a_known_law_of_errors_is_found():
    """Laplace errors whose width doubles where the first coordinate is above zero."""
    random = np.random.default_rng(0)
    pooled = torch.as_tensor(random.normal(size=(4000, 2)), dtype=torch.float32)
    width = np.exp(0.4 * np.clip(pooled[:, 0].numpy(), -3, 3)) * 0.05
    found = module()
    none = torch.zeros(4000)
    fit_terms(found, pooled, none, np.abs(random.laplace(size=4000)) * width)
    assert float(found.weights[0]) == pytest.approx(0.4, abs=0.05)
    assert float(found.weights[1]) == pytest.approx(0.0, abs=0.05)
    fresh = np.abs(random.laplace(size=4000)) * width
    sigma = found(pooled, none)[0].numpy()
    # Of the unit exponential 1 - exp(-x) is below x; 0.6827 and 0.9545 are met best at x = 1.226 and its double.
    assert (fresh <= sigma).mean() == pytest.approx(0.7066, abs=0.02)
    assert (fresh <= 2 * sigma).mean() == pytest.approx(0.9139, abs=0.02)


def test_normal_errors_get_the_shares_of_a_normal_distribution():
    random = np.random.default_rng(0)
    pooled, none = torch.as_tensor(random.normal(size=(4000, 2)), dtype=torch.float32), torch.zeros(4000)
    found = module()
    fit_terms(found, pooled, none, np.abs(random.normal(size=4000)) * 0.1)
    assert found(pooled, none)[0].numpy() == pytest.approx(0.1, rel=0.1)


def test_where_the_networks_disagree_more_is_uncertain():
    """Errors in proportion to the spread of the members, which varies over two orders of magnitude."""
    random = np.random.default_rng(0)
    pooled = torch.as_tensor(random.normal(size=(4000, 2)), dtype=torch.float32)
    spread = torch.as_tensor(10 ** random.uniform(-3, -1, 4000), dtype=torch.float32)
    errors = np.abs(random.laplace(size=4000)) * spread.numpy()
    blind, seeing = module(), module(disagreement=True)
    for each in (blind, seeing):
        fit_terms(each, pooled, spread, errors)
    assert float(seeing.spread_slope) > 0.9
    few, much = (seeing(pooled[:1], torch.tensor([each]))[0] for each in (0.003, 0.03))
    assert float(much / few) == pytest.approx(10, rel=0.25)
    torch.testing.assert_close(blind(pooled[:1], torch.tensor([0.003])), blind(pooled[:1], torch.tensor([0.03])))


def test_uncertainty_never_falls_with_the_distance_and_the_far_is_named():
    random = np.random.default_rng(0)
    found = module()
    pooled = torch.as_tensor(random.normal(size=(2000, 2)), dtype=torch.float32)
    none = torch.zeros(2000)
    fit_terms(found, pooled, none, np.abs(random.normal(size=2000)))
    assert float(found.slope) >= 0
    near, far = torch.tensor([[3.0, 0.0]]), torch.tensor([[300.0, 0.0]])
    assert float(found(far, none[:1])[0]) >= float(found(near, none[:1])[0])
    assert bool(found(far, none[:1])[1])
    assert not bool(found(pooled, none)[1].float().mean() > 0.01)


def crystal(number, edge):
    return CrystalArrays(np.array([number, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), edge * np.eye(3))


@pytest.mark.parametrize("members", [1, 3])
def test_a_model_gets_its_uncertainty_and_keeps_its_values(members):
    random = np.random.default_rng(0)
    crystals = [crystal(z, e) for z in (3, 11, 19, 37, 55) for e in (3.5, 4.0, 4.5, 5.0)]
    graphs = EnvironmentSet.from_graphs([environments(each) for each in crystals])
    names = [f"{each.numbers[0]}" for each in crystals]
    everything = PropertySet(graphs, random.normal(size=20), names, names, np.zeros(20, dtype=int))
    sizes = EnvironmentNetConfig(layers=1, width=8, scalars=4, tensors=4, hidden=8)
    model = PropertyModel(PropertyModelConfig(unknown_property("x"), sizes, members)).eval()
    new = with_uncertainty(model, everything, everything)
    batch = graphs.batch(np.arange(20))
    torch.testing.assert_close(new(batch)[0], model(batch)[0])
    errors = np.abs(everything.values - new(batch)[0].detach().numpy())
    assert (errors <= new(batch)[1].detach().numpy()).mean() == pytest.approx(0.7, abs=0.1)
    assert new.config.uncertainty.disagreement == (members > 1)
    assert set(cross_fitted(new, everything)) == {"within_one_sigma", "within_two_sigma"}
    with pytest.raises(ValueError, match="no uncertainties"):
        cross_fitted(model, everything)
