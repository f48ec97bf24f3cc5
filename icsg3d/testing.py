"""Checks that any predictor or generator of the package's kind should pass, for authors of their own.

Each takes a model and crystals, returns nothing, and raises ``AssertionError`` with the numbers when a check fails:

    from icsg3d.testing import check_generator, check_predictor

    check_predictor(PropertyPredictor.from_pretrained("my-model"), structures)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from monty.json import MontyDecoder, MontyEncoder
from pymatgen.core import Lattice, Structure

from icsg3d.models.environment_net import EnvironmentNetConfig
from icsg3d.properties.predictor import graph_of
from icsg3d.representation.graphs import GraphBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.generation.generator import CrystalGenerator
    from icsg3d.properties.predictor import PropertyPredictor
    from icsg3d.representation.graphs import CrystalGraph

_PADDED = (50, 64, 200)
"""Numbers of nodes that batches are padded to."""


def check_predictor(
    predictor: PropertyPredictor, structures: Sequence[Structure], tolerance: float = 1e-5, seed: int = 0
) -> None:
    """Run all checks of a predictor.

    Args:
        predictor: The predictor.
        structures: Crystals that it knows, of at most 50 atoms.
        tolerance: Largest deviation, relative to the value or 1, whichever is greater.
        seed: Of the random rotations, orders and origins.

    Raises:
        AssertionError: if one fails.
    """
    check_finite(predictor, structures)
    check_batch_equals_single(predictor, structures, tolerance)
    check_padding(predictor, structures, tolerance)
    check_invariance(predictor, structures, tolerance, seed)
    check_untouched(lambda: predictor.predict(list(structures)), structures)


def check_finite(predictor: PropertyPredictor, structures: Sequence[Structure]) -> None:
    """Values are numbers, and uncertainties are not negative."""
    found = predictor.predict(list(structures))
    _require(np.isfinite(found.values).all(), f"values are not finite: {found.values}")
    _require((found.stds >= 0).all(), f"uncertainties are negative or no numbers: {found.stds}")


def check_batch_equals_single(
    predictor: PropertyPredictor, structures: Sequence[Structure], tolerance: float = 1e-5
) -> None:
    """A crystal's value does not depend on what else is predicted with it."""
    together = predictor.predict(list(structures)).values
    single = np.array([predictor.predict(each).values[0] for each in structures])
    _close(together, single, tolerance, "predicted together and one by one")


def check_padding(predictor: PropertyPredictor, structures: Sequence[Structure], tolerance: float = 1e-5) -> None:
    """Padding a batch changes nothing."""
    if isinstance(predictor.model.config.network, EnvironmentNetConfig):
        return  # batches of environments have none
    graphs = [cast("CrystalGraph", graph_of(each, predictor.model.config.network.graph)) for each in structures]
    plain = predictor.model(GraphBatch.from_graphs(graphs))[0].detach().cpu().numpy()
    for nodes in _PADDED:
        padded = predictor.model(GraphBatch.from_graphs(graphs, nodes))[0].detach().cpu().numpy()
        _close(plain, padded, tolerance, f"with batches padded to {nodes} nodes")


def check_invariance(
    predictor: PropertyPredictor, structures: Sequence[Structure], tolerance: float = 1e-5, seed: int = 0
) -> None:
    """Order of atoms, origin, rotation and choice of the cell change nothing."""
    random = np.random.default_rng(seed)
    plain = predictor.predict(list(structures)).values
    for name, change in _CHANGES.items():
        changed = predictor.predict([change(each, random) for each in structures]).values
        _close(plain, changed, tolerance, f"after a change of {name}")


def check_generator(generator: CrystalGenerator, structure: Structure, seed: int = 0) -> None:
    """Run all checks of a generator.

    Draws repeat with the seed, do not depend on how many are asked for, give a crystal or a reason, and leave the start
    as it was.

    Args:
        generator: The generator.
        structure: A crystal that it knows.
        seed: Of the draws.

    Raises:
        AssertionError: if one fails.
    """
    first = generator.sample_around(structure, 6, seed=seed)
    again = generator.sample_around(structure, 6, seed=seed)
    fewer = generator.sample_around(structure, 3, seed=seed)
    for left, right in (*zip(first, again, strict=True), *zip(first[:3], fewer, strict=True)):
        _require(np.array_equal(left.latent, right.latent), "the same seed gave another latent vector")
        _require(left.structure == right.structure, "the same seed gave another crystal")
    for each in first:
        _require((each.structure is None) == bool(each.reason), "a draw has neither crystal nor reason, or both")
    check_untouched(lambda: generator.sample_around(structure, 2, seed=seed), [structure])


def check_untouched(work: Any, structures: Sequence[Structure]) -> None:
    """A call leaves its input as it was."""
    before = [each.copy() for each in structures]
    work()
    for old, new in zip(before, structures, strict=True):
        _require(old == new and np.array_equal(old.frac_coords, new.frac_coords), "the input was changed")


def check_round_trip(thing: Any) -> Any:
    """An object survives monty's JSON, and what comes back is returned."""
    text = json.dumps(thing.as_dict(), cls=MontyEncoder)
    back = MontyDecoder().process_decoded(json.loads(text))
    _require(type(back) is type(thing), f"a {type(thing).__name__} came back as {type(back).__name__}")
    _require(json.dumps(back.as_dict(), cls=MontyEncoder) == text, f"a {type(thing).__name__} came back different")
    return back


def _reordered(structure: Structure, random: np.random.Generator) -> Structure:
    return Structure.from_sites([structure[int(place)] for place in random.permutation(len(structure))])


def _moved(structure: Structure, random: np.random.Generator) -> Structure:
    return Structure(structure.lattice, structure.species, structure.frac_coords + random.random(3))


def _rotated(structure: Structure, random: np.random.Generator) -> Structure:
    rotation, _ = np.linalg.qr(random.standard_normal((3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    return Structure(Lattice(structure.lattice.matrix @ rotation), structure.species, structure.frac_coords)


def _supercell(structure: Structure, random: np.random.Generator) -> Structure:
    scaling = [1, 1, 1]
    scaling[int(random.integers(3))] = 2
    return structure * scaling


_CHANGES = {
    "the order of atoms": _reordered,
    "the origin": _moved,
    "the orientation": _rotated,
    "the cell": _supercell,
}


def _close(one: np.ndarray, other: np.ndarray, tolerance: float, when: str) -> None:
    worst = float(np.max(np.abs(one - other) / np.maximum(1.0, np.abs(one))))
    _require(worst <= tolerance, f"values differ by {worst:.2g} (allowed {tolerance:g}) {when}")


def _require(holds: Any, message: str) -> None:
    if not holds:
        raise AssertionError(message)
