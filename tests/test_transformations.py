from __future__ import annotations

import json

import numpy as np
import pytest
from monty.json import MontyEncoder
from pymatgen.alchemy.materials import TransformedStructure
from pymatgen.alchemy.transmuters import StandardTransmuter
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.errors import InputError
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.properties.volume import VolumePredictor
from icsg3d.screening.constraints import Constraints
from icsg3d.testing import check_round_trip, check_untouched
from icsg3d.transformations import (
    CandidateTransformation,
    LatentInterpolationTransformation,
    LatentSamplingTransformation,
    PropertyOptimizationTransformation,
    ReconstructionTransformation,
)

START = prototype_structure("SrTiO3")
ENERGY = "formation_energy_per_atom"


@pytest.fixture(scope="module")
def sampled():
    transformation = LatentSamplingTransformation(n_structures=4, model="cubic", seed=3)
    return transformation.apply_transformation(START, return_ranked_list=True)


@pytest.mark.slow
def test_samples_are_ranked_different_and_say_where_they_come_from(sampled):
    assert len(sampled) == 4
    energies = [entry[ENERGY] for entry in sampled]
    assert energies == sorted(energies)
    predictor = PropertyPredictor.from_pretrained(ENERGY)
    for entry in sampled:
        found = predictor.predict(entry["structure"])
        assert entry[ENERGY] == pytest.approx(found.values[0], abs=1e-4)
        assert entry[f"{ENERGY}_std"] == pytest.approx(found.stds[0], abs=1e-4)
    generator = CrystalGenerator.from_pretrained("cubic")
    draws = generator.sample_around(START, 8, seed=3)
    origin, volumes = generator.encode([START]), VolumePredictor.from_pretrained()
    for entry in sampled:
        drawn, crystal = draws[entry["draw"]].structure, entry["structure"]
        assert crystal.species == drawn.species
        assert crystal.frac_coords == pytest.approx(drawn.frac_coords)
        assert crystal.lattice.angles == pytest.approx(drawn.lattice.angles)
        assert np.ptp(np.divide(crystal.lattice.abc, drawn.lattice.abc)) == pytest.approx(0, abs=1e-6)
        assert crystal.volume / len(crystal) == pytest.approx(volumes.predict([drawn]).values[0], rel=1e-5)
        distance = generator.latent_distance(draws[entry["draw"]].latent[None], origin)[0]
        assert entry["latent_distance"] == pytest.approx(distance, rel=1e-5)
        assert (entry["seed"], entry["model"], entry["model_sha256"]) == (3, "cubic", generator.digest)


@pytest.mark.slow
def test_candidates_meet_what_is_asked_and_come_in_the_order_of_the_hull():
    constraints = Constraints(excluded=frozenset({"Sr"}), formula="ABX3", ranges={"band_gap": (0.5, 9.0)})
    transformation = check_round_trip(CandidateTransformation(3, constraints, draws=256, seed=1))
    found = transformation.apply_transformation(START, return_ranked_list=True)
    assert len(found) == 3
    distances = [entry["energy_above_hull"] for entry in found]
    assert distances == sorted(distances)
    for entry in found:
        amounts = sorted(entry["structure"].composition.reduced_composition.values())
        assert amounts == [1, 1, 3]
        assert "Sr" not in entry["structure"].composition
        assert 0.5 <= entry["band_gap"] <= 9.0
        assert entry["passed"]
    with pytest.raises(InputError, match="no draw passed: 0 of 64 passed"):
        CandidateTransformation(1, Constraints(formula="A2X9"), draws=64).apply_transformation(START)


@pytest.mark.slow
def test_ranking_modes(sampled):
    transformation = LatentSamplingTransformation(n_structures=4, model="cubic", seed=3)
    assert transformation.apply_transformation(START) == sampled[0]["structure"]
    two = transformation.apply_transformation(START, return_ranked_list=2)
    assert [entry["draw"] for entry in two] == [entry["draw"] for entry in sampled[:2]]
    one = transformation.apply_transformation(START, return_ranked_list=1)
    assert len(one) == 1, "an int asks for that many; True asks for all"
    greatest = LatentSamplingTransformation(n_structures=4, model="cubic", seed=3, maximize=True)
    assert greatest.apply_transformation(START) == sampled[-1]["structure"]
    nearest = LatentSamplingTransformation(n_structures=4, model="cubic", seed=3, rank_by=None)
    distances = [entry["latent_distance"] for entry in nearest.apply_transformation(START, return_ranked_list=True)]
    assert distances == sorted(distances)


@pytest.mark.slow
def test_transmuter_keeps_scores_in_the_history_and_in_json():
    transformed = TransformedStructure(START, [])
    transmuter = StandardTransmuter([transformed], [LatentSamplingTransformation(3, seed=1)], extend_collection=3)
    assert len(transmuter.transformed_structures) == 3
    for each in transmuter.transformed_structures:
        output = each.history[-1]["output_parameters"]
        assert {ENERGY, f"{ENERGY}_std", "latent_distance", "seed", "model", "model_sha256"} <= set(output)
        back = TransformedStructure.from_dict(json.loads(json.dumps(each.as_dict(), cls=MontyEncoder)))
        assert back.history[-1]["output_parameters"] == pytest.approx(output)
        assert back.final_structure == each.final_structure


@pytest.mark.slow
@pytest.mark.parametrize(
    "transformation",
    [
        LatentSamplingTransformation(3, seed=2, rank_by=None),
        ReconstructionTransformation(),
        LatentInterpolationTransformation(prototype_structure("BaZrO3"), n_structures=3),
        PropertyOptimizationTransformation(target=-2.0, n_structures=2, rounds=1, draws=4),
    ],
    ids=lambda transformation: type(transformation).__name__,
)
def test_round_trip_through_json_gives_the_same_crystals(transformation):
    check_untouched(lambda: transformation.apply_transformation(START), [START])
    json.dumps(transformation.as_dict())  # plain values: no encoder needed, networks loaded or not
    back = check_round_trip(transformation)
    assert back.apply_transformation(START) == transformation.apply_transformation(START)
    assert transformation.inverse is None
    assert transformation.use_multiprocessing is False
    assert transformation.is_one_to_many is not isinstance(transformation, ReconstructionTransformation)


@pytest.mark.slow
def test_interpolation_follows_the_path():
    path = LatentInterpolationTransformation(prototype_structure("BaZrO3"), n_structures=5)
    entries = path.apply_transformation(START, return_ranked_list=True)
    shares = [entry["path_fraction"] for entry in entries]
    assert shares == sorted(shares)
    assert entries[0]["structure"].composition.reduced_formula == "SrTiO3"
    assert entries[-1]["structure"].composition.reduced_formula == "BaZrO3"
    middle = min(entries, key=lambda entry: abs(entry["path_fraction"] - 0.5))
    assert path.apply_transformation(START) == middle["structure"]


@pytest.mark.slow
def test_atoms_and_paths_stand_for_crystals_too(tmp_path):
    atoms = AseAtomsAdaptor.get_atoms(START)
    end = prototype_structure("BaZrO3")
    end.to(str(tmp_path / "end.cif"))
    path = LatentInterpolationTransformation(str(tmp_path / "end.cif"), n_structures=2)
    other = LatentInterpolationTransformation(AseAtomsAdaptor.get_atoms(end), n_structures=2)
    for found in (path.apply_transformation(atoms, 2), other.apply_transformation(START, 2)):
        assert [each["structure"].composition.reduced_formula for each in found] == ["SrTiO3", "BaZrO3"]
    assert path.as_dict()["end"]["@class"] == "Structure"  # the file need not be there when it is read again
    assert ReconstructionTransformation().apply_transformation(atoms).composition.reduced_formula == "SrTiO3"
    for each in (
        LatentSamplingTransformation(1),
        PropertyOptimizationTransformation(target=-2.0, n_structures=1, rounds=1, draws=4),
    ):
        assert each.apply_transformation(atoms) == each.apply_transformation(START)


@pytest.mark.slow
def test_optimization_ranks_by_the_distance_to_the_target_that_is_to_be_expected():
    search = PropertyOptimizationTransformation(target=-1.0, n_structures=3, rounds=2, draws=8)
    entries = search.apply_transformation(START, return_ranked_list=True)
    misses = [((entry[ENERGY] + 1.0) ** 2 + entry[f"{ENERGY}_std"] ** 2) ** 0.5 for entry in entries]
    assert misses == sorted(misses)
    assert all(entry["target"] == -1.0 for entry in entries)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transformation", "message"),
    [
        (LatentSamplingTransformation(0), "n_structures must be at least 1"),
        (LatentSamplingTransformation(model="nothing"), "no model 'nothing'"),
        (LatentSamplingTransformation(scale=-1.0), "scale"),
        (LatentSamplingTransformation(rank_by="colour"), "no model 'colour'"),
        (LatentInterpolationTransformation(START, n_structures=1), "at least 2"),
        (LatentInterpolationTransformation({"sites": []}), "no crystal"),
        (PropertyOptimizationTransformation(target=float("nan")), "the target is a finite number"),
    ],
)
def test_bad_arguments_are_value_errors_that_say_why(transformation, message):
    with pytest.raises(ValueError, match=message):
        transformation.apply_transformation(START)


def test_no_crystal_among_the_draws_is_an_error(monkeypatch):
    from icsg3d.generation.decoded import DecodedCrystal

    def nothing(self, structure, n, scale=0.8, seed=0, origin=None):
        return iter([DecodedCrystal(None, "no atom was found", np.zeros(1))] * n)

    monkeypatch.setattr(CrystalGenerator, "iter_sample_around", nothing)
    with pytest.raises(InputError, match="none of 16 draws around SrTiO3 gave a crystal"):
        LatentSamplingTransformation(2).apply_transformation(START)


def test_disordered_input_is_refused():
    disordered = START.copy()
    disordered.replace(0, {"Sr": 0.5, "Ba": 0.5})
    with pytest.raises(ValueError, match="disordered"):
        ReconstructionTransformation().apply_transformation(disordered)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transformation", "steps"),
    [
        (LatentSamplingTransformation(n_structures=2, rank_by=None), {"sampling": [(0, 2), (1, 2), (2, 2)]}),
        (LatentInterpolationTransformation(START, n_structures=2), {"interpolating": [(0, 2), (1, 2), (2, 2)]}),
    ],
)
def test_progress_is_reported_step_by_step(transformation, steps, watched):
    transformation.apply_transformation(START)
    assert steps.items() <= watched.items()


@pytest.mark.slow
def test_long_work_has_a_bar_unless_it_is_not_wanted(monkeypatch, capfd):
    monkeypatch.setattr("icsg3d.bars._PATIENCE", 0.0)
    LatentInterpolationTransformation(START, n_structures=2).apply_transformation(START)
    said = capfd.readouterr()
    assert said.out == ""
    assert "interpolating" in said.err
    assert "2/2" in said.err
    LatentInterpolationTransformation(START, n_structures=2, pbar=False).apply_transformation(START)
    assert capfd.readouterr() == ("", "")
