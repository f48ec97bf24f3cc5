from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.errors import InputError
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.properties.equilibrium import SHORTFALL, energy_minimum, scale_cells, scaled
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.representation.graphs import GraphConfig


class Spring:
    """Energies that are lowest where the shortest distance is the one wanted; graphs are the package's own."""

    def __init__(self, wanted: float) -> None:
        self.wanted = wanted
        network = type("Network", (), {"graph": GraphConfig()})
        self.model = type("Model", (), {"config": type("Config", (), {"network": network})})

    def predict_graphs(self, graphs):
        values = [
            (graph.distances.min() - self.wanted) ** 2 + 0.3 * (graph.distances.min() - self.wanted) ** 3
            for graph in graphs
        ]
        return type("Found", (), {"values": np.array(values)})


def cscl(edge):
    return Structure(Lattice.cubic(edge), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.mark.parametrize("edge", [3.5, 4.0, 4.7])
def test_the_minimum_is_found_from_either_side(edge):
    nearest = 4.1 * 3**0.5 / 2
    factor = energy_minimum(cscl(edge), Spring(nearest))
    assert factor * edge == pytest.approx(4.1, abs=2e-3)


def test_no_minimum_within_reach_is_refused():
    for edge in (2.0, 7.5):
        with pytest.raises(InputError, match="has no minimum within 20 %"):
            energy_minimum(cscl(edge), Spring(4.1 * 3**0.5 / 2))


def test_several_at_once(watched):
    factors = scale_cells([cscl(4.0), cscl(2.0)], Spring(4.1 * 3**0.5 / 2))
    assert factors[0] == pytest.approx(SHORTFALL * 4.1 / 4.0, abs=1e-3)
    assert factors[1] is None
    assert watched["scaling cells"][-1] == (2, 2)


def test_scaling_leaves_the_given_crystal():
    given = cscl(4.0)
    assert scaled(given, 1.1).lattice.a == pytest.approx(4.4)
    assert given.lattice.a == pytest.approx(4.0)


def test_the_shipped_network_mends_a_cell():
    predictor = PropertyPredictor.from_pretrained("formation_energy_per_atom")
    squeezed = scaled(prototype_structure("SrTiO3"), 0.88 * 3.905 / prototype_structure("SrTiO3").lattice.a)
    edge = squeezed.lattice.a * scale_cells([squeezed], predictor)[0]
    assert edge == pytest.approx(3.945, abs=0.06)  # PBE, the Materials Project's mp-5229
