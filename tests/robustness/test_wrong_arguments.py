"""Arguments of the wrong kind end in the package's own error; numpy's numbers are numbers."""

from __future__ import annotations

import numpy as np
import pytest

from icsg3d.calculators import CrystalGraphCalculator
from icsg3d.errors import InputError
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.generation.search import optimize_property
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.runs.generate import generate
from icsg3d.runs.reconstruct import reconstruct
from icsg3d.transformations import (
    LatentInterpolationTransformation,
    LatentSamplingTransformation,
    PropertyOptimizationTransformation,
    ReconstructionTransformation,
)

SALT = prototype_structure("NaCl")


@pytest.fixture(scope="module", params=["cubic", "materials"])
def generator(request):
    return CrystalGenerator.from_pretrained(request.param)


@pytest.fixture(scope="module")
def predictor():
    return PropertyPredictor.from_pretrained("band_gap")


WRONG_DRAWS = {
    "a condition that is a text": lambda made: made.sample(1, condition="x"),
    "a condition that is true": lambda made: made.sample(1, condition=True),
    "2.0 draws": lambda made: made.sample(2.0),
    "no seed": lambda made: made.sample(1, seed=None),
    "a seed of 1.0": lambda made: made.sample(1, seed=1.0),
    "a scale that is a text": lambda made: made.sample_around(SALT, 1, "x"),
    "no scale": lambda made: made.sample_around(SALT, 1, None),
    "no seed around": lambda made: made.sample_around(SALT, 1, 0.5, None),
    "elements that are a text": lambda made: made.sample(1, elements="Sr"),
    "elements by number": lambda made: made.sample(1, elements=[38]),
    "no elements": lambda made: made.sample(1, elements=None),
    "2.5 steps": lambda made: made.interpolate(SALT, SALT, 2.5),
    "one crystal for several": lambda made: made.encode(SALT),
    "no crystals": lambda made: made.encode(None),
    "a text for latents": lambda made: made.decode("x"),
    "nothing for latents": lambda made: made.decode(None),
}


@pytest.mark.parametrize("name", WRONG_DRAWS)
def test_draws(name, generator):
    with pytest.raises(InputError):
        WRONG_DRAWS[name](generator)


WRONG = {
    "predict nothing": lambda made, model: model.predict(None),
    "predict a number": lambda made, model: model.predict(3),
    "a model by number": lambda made, model: PropertyPredictor.from_pretrained(3),
    "no model": lambda made, model: CrystalGenerator.from_pretrained(None),
    "a tolerance that is a text": lambda made, model: CrystalGenerator.from_pretrained(symmetry_tolerance="x"),
    "no tolerance": lambda made, model: CrystalGenerator.from_pretrained(symmetry_tolerance=None),
    "a target that is a text": lambda made, model: optimize_property(made, model, SALT, "x"),
    "1.0 rounds": lambda made, model: optimize_property(made, model, SALT, 1.0, rounds=1.0),
    "no draws": lambda made, model: optimize_property(made, model, SALT, 1.0, draws=None),
    "a scale that is a text": lambda made, model: optimize_property(made, model, SALT, 1.0, scale="x"),
    "2.0 structures": lambda made, model: LatentSamplingTransformation(2.0).apply_transformation(SALT),
    "no seed": lambda made, model: LatentSamplingTransformation(1, seed=None).apply_transformation(SALT),
    "a list of x": lambda made, model: LatentSamplingTransformation(1).apply_transformation(SALT, "x"),
    "2.0 points": lambda made, model: LatentInterpolationTransformation(SALT, 2.0).apply_transformation(SALT),
    "no target": lambda made, model: PropertyOptimizationTransformation(target=None).apply_transformation(SALT),
    "a device that is none": lambda made, model: ReconstructionTransformation(device="x").apply_transformation(SALT),
    "a device that is not there": lambda made, model: CrystalGraphCalculator(device="cuda:77"),
}


@pytest.mark.parametrize("name", WRONG)
def test_surfaces(name, predictor):
    made = CrystalGenerator.from_pretrained("cubic")
    with pytest.raises(InputError):
        WRONG[name](made, predictor)


@pytest.mark.slow
def test_numbers_of_numpy_are_numbers(predictor, tmp_path):
    made = CrystalGenerator.from_pretrained("cubic", symmetry_tolerance=np.float32(0.25))
    around = made.sample_around(SALT, np.int64(1), np.float32(0.5), np.uint8(1))
    assert np.array_equal(around[0].latent, made.sample_around(SALT, 1, 0.5, 1)[0].latent)
    free = made.sample(np.int8(1), condition=np.float32(-1), seed=np.int64(2))
    assert np.array_equal(free[0].latent, made.sample(1, condition=-1, seed=2)[0].latent)
    found = optimize_property(made, predictor, SALT, np.float32(1), rounds=np.int8(1), draws=np.int8(2))
    assert found
    run = generate(str(tmp_path / "a"), n=np.int64(1), seed=np.int64(3), condition=np.float32(-1), picture=False)
    assert len(run.candidates) == 1


def test_runs_refuse_them_too(tmp_path):
    for wrong in ({"n": 2.0}, {"seed": None}, {"condition": "low"}, {"scale": None}):
        with pytest.raises(InputError):
            generate(tmp_path / "a", **({"n": 1} | wrong))
    with pytest.raises(InputError, match=r"--limit is a whole number, got 2\.0"):
        reconstruct("none.json", tmp_path / "r.json", limit=2.0)
