from __future__ import annotations

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.structures import from_arrays, to_arrays
from icsg3d.errors import InputError
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.environment_net import EnvironmentNet, EnvironmentNetConfig
from icsg3d.models.properties import (
    PropertyModel,
    PropertyModelConfig,
    load_property_model,
    new_network,
    save_property_model,
)
from icsg3d.models.targets import PROPERTIES
from icsg3d.models.uncertainty import UncertaintyConfig
from icsg3d.representation.environments import EnvironmentSet, environments
from icsg3d.representation.moments import EnvironmentConfig

SIZES = EnvironmentNetConfig(layers=2, width=16, scalars=12, tensors=8, hidden=16)
OXIDE = CrystalArrays(
    np.array([38, 22, 8, 8, 8]),
    np.array([[0, 0, 0.02], [0.5, 0.5, 0.5], [0.5, 0.5, 0.03], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    np.diag([3.9, 3.9, 4.1]),
)
SILICON = CrystalArrays(np.array([14, 14]), np.array([[0.0, 0, 0], [0.25] * 3]), 2.73 * (np.ones((3, 3)) - np.eye(3)))


def network(**changes):
    torch.manual_seed(0)
    return EnvironmentNet(EnvironmentNetConfig(**{**vars(SIZES), **changes})).double().eval()


def values(net, crystals):
    made = EnvironmentSet.from_graphs([environments(each) for each in crystals])
    with torch.no_grad():
        return net(_double(made).batch(np.arange(len(crystals)))).numpy()


def _double(made):
    return EnvironmentSet(made.numbers, made.atoms, made.degrees, made.neighbours, made.moments.astype(float))


@pytest.mark.parametrize("pooling", ["atomic", "crystal"])
def test_a_value_depends_on_the_crystal_alone(pooling):
    net = network(pooling=pooling)
    plain = values(net, [OXIDE, SILICON])
    random = np.random.default_rng(1)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    order = random.permutation(5)
    turned = CrystalArrays(OXIDE.numbers[order], OXIDE.frac_coords[order] + 0.3, OXIDE.lattice @ turn)
    large = to_arrays(from_arrays(OXIDE) * ((1, 1, 0), (0, 2, 0), (0, 0, 1)))
    skewed = CrystalArrays(OXIDE.numbers, OXIDE.frac_coords @ [[1, -1, 0], [0, 1, 0], [0, 0, 1]], OXIDE.lattice)
    skewed = CrystalArrays(
        skewed.numbers, skewed.frac_coords, np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]) @ OXIDE.lattice
    )
    found = values(net, [SILICON, turned, large, skewed])
    np.testing.assert_allclose(found, plain[[1, 0, 0, 0]], atol=2e-6)


def test_angles_count_where_distances_are_equal():
    """Two neighbours on one side of an atom or on both: the distances to the atom are those of the other crystal."""
    far = 12 * np.eye(3)
    straight = CrystalArrays(np.array([22, 8, 8]), np.array([[0, 0, 0], [2.0, 0, 0], [-2.0, 0, 0]]) / 12, far)
    bent = CrystalArrays(np.array([22, 8, 8]), np.array([[0, 0, 0], [2.0, 0, 0], [0, 2.0, 0]]) / 12, far)
    net = EnvironmentNet(SIZES).double()
    found = []
    for crystal in (straight, bent):
        made = _double(EnvironmentSet.from_graphs([environments(crystal)])).batch(np.array([0]))
        with torch.no_grad():
            found.append(net.atoms(made)[0])
    one, other = (
        EnvironmentSet.from_graphs([environments(c)]).batch(np.array([0])).blocks[0] for c in (straight, bent)
    )
    torch.testing.assert_close(one.scalar[0, 0], other.scalar[0, 0])
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_the_energy_is_smooth_in_the_volume():
    """Second differences shrink with the square of the step; of a kink only with the step, of a jump not at all."""
    net = network()

    def curvature(points):
        factors = 1 + 0.15 * np.linspace(-1, 1, points)
        cells = [CrystalArrays(OXIDE.numbers, OXIDE.frac_coords, OXIDE.lattice * factor) for factor in factors]
        return np.abs(np.diff(values(net, cells), 2)).max()

    assert curvature(401) < curvature(41) / 50


def test_a_network_that_grows_gives_the_same_numbers_and_learns_more():
    small = network(graph=EnvironmentConfig(degree=2))
    grown = small.grown(4).double()
    assert grown.config.graph.degree == 4
    crystals = [OXIDE, SILICON]
    of_degree = [
        EnvironmentSet.from_graphs([environments(each, net.config.graph) for each in crystals])
        for net in (small, grown)
    ]
    found = [net(_double(made).batch(np.arange(2))) for net, made in zip((small, grown), of_degree, strict=True)]
    torch.testing.assert_close(found[1], found[0])
    found[1].sum().backward()
    new = grown.layers[0].mix.weight[:, -2 * 3 * SIZES.tensors // 2 :]
    assert not new.any()
    assert grown.layers[0].mix.weight.grad[:, -new.shape[1] :].abs().amin(0).gt(0).all()


def test_a_network_does_not_shrink():
    with pytest.raises(InputError, match="a network of degree 4 cannot be brought to degree 3; take 4 or more"):
        network().grown(3)


def test_atoms_without_neighbours_have_a_value():
    alone = CrystalArrays(np.array([14]), np.zeros((1, 3)), 15 * np.eye(3))
    assert np.isfinite(values(network(), [alone])).all()


def test_models_are_written_and_read(tmp_path):
    config = PropertyModelConfig(
        PROPERTIES["band_gap"], SIZES, members=2, elements=(8, 22), uncertainty=UncertaintyConfig(32, 3, 5)
    )
    model = PropertyModel(config).eval()
    model.uncertainty.offset.fill_(-1.0)
    save_property_model(model, tmp_path)
    read, _ = load_property_model(tmp_path)
    assert read.config == config
    batch = EnvironmentSet.from_graphs([environments(OXIDE)]).batch(np.array([0]))
    for one, other in zip(model.assess(batch), read.assess(batch), strict=True):
        torch.testing.assert_close(one, other)
    assert float(read(batch)[1].detach()) == pytest.approx(np.exp(-1.0))


def test_sizes_decide_which_network_is_made():
    assert isinstance(new_network(SIZES), EnvironmentNet)
    assert not isinstance(new_network(CrystalGraphConfig(layers=1, width=8, hidden=8)), EnvironmentNet)
