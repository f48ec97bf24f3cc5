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


def module(count=400):
    found = Uncertainty(UncertaintyConfig(2, 2, count))
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
    fit_terms(found, pooled, np.abs(random.laplace(size=4000)) * width)
    assert float(found.weights[0]) == pytest.approx(0.4, abs=0.05)
    assert float(found.weights[1]) == pytest.approx(0.0, abs=0.05)
    fresh = np.abs(random.laplace(size=4000)) * width
    sigma = found(pooled)[0].numpy()
    assert (fresh <= sigma).mean() == pytest.approx(0.6827, abs=0.02)
    assert (fresh <= 2 * sigma).mean() == pytest.approx(0.9, abs=0.02)  # of a Laplace distribution


def test_uncertainty_never_falls_with_the_distance_and_the_far_is_named():
    random = np.random.default_rng(0)
    found = module()
    pooled = torch.as_tensor(random.normal(size=(2000, 2)), dtype=torch.float32)
    fit_terms(found, pooled, np.abs(random.normal(size=2000)))
    assert float(found.slope) >= 0
    near, far = torch.tensor([[3.0, 0.0]]), torch.tensor([[300.0, 0.0]])
    assert float(found(far)[0]) >= float(found(near)[0])
    assert bool(found(far)[1])
    assert not bool(found(pooled)[1].float().mean() > 0.01)


def crystal(number, edge):
    return CrystalArrays(np.array([number, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), edge * np.eye(3))


def test_a_model_gets_its_uncertainty_and_keeps_its_values():
    random = np.random.default_rng(0)
    crystals = [crystal(z, e) for z in (3, 11, 19, 37, 55) for e in (3.5, 4.0, 4.5, 5.0)]
    graphs = EnvironmentSet.from_graphs([environments(each) for each in crystals])
    names = [f"{each.numbers[0]}" for each in crystals]
    everything = PropertySet(graphs, random.normal(size=20), names, names, np.zeros(20, dtype=int))
    sizes = EnvironmentNetConfig(layers=1, width=8, scalars=4, tensors=4, hidden=8)
    model = PropertyModel(PropertyModelConfig(unknown_property("x"), sizes)).eval()
    new = with_uncertainty(model, everything, everything)
    batch = graphs.batch(np.arange(20))
    torch.testing.assert_close(new(batch)[0], model(batch)[0])
    errors = np.abs(everything.values - new(batch)[0].detach().numpy())
    assert (errors <= new(batch)[1].detach().numpy()).mean() == pytest.approx(0.68, abs=0.06)
    assert set(cross_fitted(new, everything)) == {"within_one_sigma", "within_two_sigma"}
    with pytest.raises(ValueError, match="no uncertainties"):
        cross_fitted(model, everything)
