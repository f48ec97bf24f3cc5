from __future__ import annotations

import functools
import itertools
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.errors import InputError
from icsg3d.evaluation import generation
from icsg3d.evaluation.fingerprints import Fingerprint
from icsg3d.evaluation.generation import (
    CUTOFFS,
    Cutoffs,
    Energies,
    Validity,
    coverage,
    distances_of_distributions,
    mean_distances,
    predicted_energies,
    repeats,
    report,
    validity,
)
from icsg3d.report.evaluations import draw_generation, generation_table

GOOD, BAD = Validity(True, True, True), Validity(True, False, False)


@pytest.fixture
def no_smact(monkeypatch):
    """Let compositions be valid that hold no caesium and, by the strict set, no lithium either."""

    def valid(composition, states="smact14"):
        held = {element.symbol for element in composition}
        return "Cs" not in held and (states is not None or "Li" not in held)

    monkeypatch.setattr(generation, "composition_valid", valid)


def fingerprint(sites, composition):
    return Fingerprint(np.atleast_1d(sites).astype(float), np.atleast_1d(composition).astype(float))


def rock_salt(cation="Na", anion="Cl", edge=5.64):
    return Structure(edge / 2 * (np.ones((3, 3)) - np.eye(3)), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def caesium_chloride(cation="Cs", anion="Cl", edge=4.12):
    return Structure(Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


# Coverage


def test_the_cutoffs_are_those_of_the_benchmark():
    assert {"perovskites": Cutoffs(0.2, 4.0), "mp20": Cutoffs(0.4, 10.0)} == CUTOFFS


def test_a_crystal_is_covered_if_sites_and_composition_are_near():
    real = [fingerprint(0, 0), fingerprint(10, 10), fingerprint(20, 20)]
    made = [fingerprint(0.5, 1.5), fingerprint(10.5, 13), fingerprint(50, 20)]
    # The first real crystal is near the first; the second by sites alone, the third by composition alone.
    assert coverage(made, real, Cutoffs(1, 2)) == pytest.approx((1 / 3, 1 / 3))
    assert coverage(made, real, Cutoffs(1, 3)) == pytest.approx((2 / 3, 2 / 3))
    assert coverage(made, real, Cutoffs(0.4, 3)) == (0.0, 0.0)


def test_the_cutoff_itself_is_near():
    assert coverage([fingerprint(1, 2)], [fingerprint(0, 0)], Cutoffs(1, 2)) == (1.0, 1.0)
    assert coverage([fingerprint(1, 2.001)], [fingerprint(0, 0)], Cutoffs(1, 2)) == (0.0, 0.0)


def test_sites_and_composition_may_be_covered_by_different_crystals():
    real = [fingerprint(0, 0)]
    made = [fingerprint(0, 99), fingerprint(99, 0)]
    assert coverage(made, real, Cutoffs(1, 1)) == (1.0, 0.0)
    assert coverage(real, made, Cutoffs(1, 1)) == (0.0, 1.0)


def test_distances_are_euclidean():
    assert coverage([fingerprint([3, 4], 0)], [fingerprint([0, 0], 0)], Cutoffs(5, 1)) == (1.0, 1.0)
    assert coverage([fingerprint([3, 4], 0)], [fingerprint([0, 0], 0)], Cutoffs(4.99, 1)) == (0.0, 0.0)


def by_hand(made, real, cutoffs):
    """Recall and precision, crystal by crystal."""

    def covered(one, others):
        return all(
            any(
                other is not None
                and np.sqrt(((getattr(one, name) - getattr(other, name)) ** 2).sum()) <= getattr(cutoffs, name)
                for other in others
            )
            for name in ("sites", "composition")
        )

    known = [each for each in real if each is not None]
    recall = [covered(each, made) for each in known]
    return np.mean(recall), np.mean([each is not None and covered(each, known) for each in made])


@pytest.mark.parametrize("seed", range(4))
def test_coverage_agrees_with_counting_one_by_one(monkeypatch, seed):
    monkeypatch.setattr(generation, "_CHUNK", 7)
    random = np.random.default_rng(seed)
    made, real = (
        [None if random.random() < 0.2 else fingerprint(random.random(3), 9 * random.random(4)) for _ in range(count)]
        for count in (30, 23)
    )
    cutoffs = Cutoffs(0.35, 4.0)
    found = coverage(made, real, cutoffs)
    assert found == pytest.approx(by_hand(made, real, cutoffs))
    assert 0.1 < min(found) < 0.9  # else this test tells nothing
    monkeypatch.setattr(generation, "_CHUNK", 1000)
    assert coverage(made, real, cutoffs) == found


def test_generated_crystals_without_a_fingerprint_are_misses_and_real_ones_do_not_count():
    near = fingerprint(0, 0)
    assert coverage([near, None, None, None], [near], Cutoffs(1, 1)) == (1.0, 0.25)
    assert coverage([near], [near, None, None], Cutoffs(1, 1)) == (1.0, 1.0)
    assert coverage([None], [near], Cutoffs(1, 1)) == (0.0, 0.0)
    assert coverage([], [near], Cutoffs(1, 1)) == (0.0, 0.0)


def test_real_crystals_without_any_fingerprint_are_refused():
    with pytest.raises(InputError, match="none of the real crystals has a fingerprint; give other --data"):
        coverage([fingerprint(0, 0)], [None, None], Cutoffs(1, 1))


# Repeats


def test_repeats_are_found_whatever_cell_they_come_in():
    turned = rock_salt() * [2, 1, 1]
    turned.translate_sites(range(len(turned)), [0.1, 0.2, 0.3])
    structures = [
        rock_salt(),
        rock_salt("K", "Br", 6.6),
        turned,
        caesium_chloride("Na", "Cl", 3.5),  # the same composition in another structure
        rock_salt(edge=5.7),
        caesium_chloride("Na", "Cl", 3.6),
        rock_salt("Mg", "O", 4.2),
    ]
    others = [caesium_chloride("Na", "Cl", 3.4), rock_salt("Mg", "O", 4.3), rock_salt("Li", "F", 4.0)]
    found = repeats(structures, others, jobs=1)
    assert found.dtype == bool
    assert found[:, 0].tolist() == [False, False, True, False, True, True, False]
    assert found[:, 1].tolist() == [False, False, False, True, False, True, True]


def test_the_first_of_its_kind_repeats_nothing_in_any_order():
    structures = [rock_salt(), rock_salt("K", "Br", 6.6), rock_salt(edge=5.6), rock_salt("K", "Br", 6.5)]
    for order in itertools.permutations(range(4)):
        found = repeats([structures[i] for i in order], jobs=1)
        seen = set()
        for place, repeated in zip(order, found[:, 0], strict=True):
            assert repeated == (place % 2 in seen)
            seen.add(place % 2)
        assert not found[:, 1].any()


def test_no_crystal_repeats_nothing():
    assert repeats([], [rock_salt()], jobs=1).shape == (0, 2)


# Distributions


def mean_gap(one, other):
    """Wasserstein distance of two sets of the same size."""
    return np.abs(np.sort(one) - np.sort(other)).mean()


def test_distances_of_distributions_by_hand():
    made = [rock_salt(edge=edge) for edge in (5.6, 6.0, 6.4)]
    real = [rock_salt("K", "Br", 6.6), Structure(Lattice.cubic(3), ["Fe"], [[0, 0, 0]]), rock_salt()]
    found = distances_of_distributions(made, [GOOD] * 3, real)
    density = [22.98977 + 35.453, 39.0983 + 79.904, 55.845]  # g/mol
    litres = [0.602214076 * v for v in (5.6**3 / 4, 6.0**3 / 4, 6.4**3 / 4, 6.6**3 / 4, 27.0, 5.64**3 / 4)]
    ours = [density[0] / litre for litre in litres[:3]]
    theirs = [density[1] / litres[3], density[2] / litres[4], density[0] / litres[5]]
    assert found["wdist_density"] == pytest.approx(mean_gap(ours, theirs), rel=1e-4)
    assert found["wdist_num_elements"] == pytest.approx(1 / 3)  # two, two and two against two, one and two


def test_distances_are_averaged_over_choices(monkeypatch):
    made = [rock_salt(edge=5 + 0.1 * number) for number in range(20)]
    monkeypatch.setattr(generation, "distances_of_distributions", functools.partial(distances_of_distributions, n=2))
    real = [rock_salt(edge=0.5)]
    single = [distances_of_distributions(made, [GOOD] * 20, real, n=2, seed=3 + k)["wdist_density"] for k in range(20)]
    assert len(set(single)) > 5
    assert mean_distances(made, [GOOD] * 20, real, seed=3) == {
        "wdist_density_mean": pytest.approx(np.mean(single)),
        "wdist_num_elements_mean": 0.0,
    }


def test_only_valid_crystals_are_compared():
    real = [rock_salt()]
    made = [rock_salt(), rock_salt(edge=9.0), rock_salt(edge=9.0)]
    found = distances_of_distributions(made, [GOOD, BAD, Validity(False, True, True)], real)
    assert found == {"wdist_density": pytest.approx(0.0), "wdist_num_elements": 0.0}
    assert distances_of_distributions(made, [BAD] * 3, real) == {"wdist_density": None, "wdist_num_elements": None}


def test_so_many_are_taken_at_random_by_the_seed():
    made = [rock_salt(edge=5 + 0.1 * number) for number in range(20)]
    valid = [GOOD if number % 2 else BAD for number in range(20)]
    real = [rock_salt(edge=0.5)]  # denser than all, so that the distance is that of the means
    single = {real[0].density - crystal.density: number for number, crystal in enumerate(made) if valid[number] is GOOD}
    drawn = set()
    for seed in range(12):
        distance = distances_of_distributions(made, valid, real, n=1, seed=seed)["wdist_density"]
        assert distance == distances_of_distributions(made, valid, real, n=1, seed=seed)["wdist_density"]
        nearest = min(single, key=lambda each: abs(each - distance))
        assert distance == pytest.approx(nearest, rel=1e-9)
        drawn.add(single[nearest])
    assert len(drawn) > 3
    everything = distances_of_distributions(made, valid, real, n=100)["wdist_density"]
    assert everything == pytest.approx(np.mean(list(single)))


class Network:
    """A network whose energy is minus the edge of the cubic cell; it does not take cells beyond 8 angstrom."""

    digest = "abc"

    def __init__(self):
        self.asked = []

    def predict_possible(self, crystals):
        edges = [round((crystal.volume * 4) ** (1 / 3), 6) for crystal in crystals]
        self.asked.append(edges)
        return SimpleNamespace(values=np.array([-edge if edge < 8 else np.nan for edge in edges]))


def test_energies_are_of_valid_and_of_real_crystals_that_the_network_takes(monkeypatch, watched):
    monkeypatch.setattr(generation, "_CHUNK", 2)
    made = [rock_salt(edge=edge) for edge in (5.0, 9.0, 6.0, 7.0, 5.5)]
    network = Network()
    found = predicted_energies(network, made, [GOOD, GOOD, BAD, GOOD, GOOD], [rock_salt(edge=8.5), rock_salt(edge=6.5)])
    assert network.asked == [[5.0, 9.0], [7.0, 5.5], [8.5, 6.5]]
    np.testing.assert_array_equal(found.generated, [-5.0, np.nan, np.nan, -7.0, -5.5])
    np.testing.assert_array_equal(found.real, [np.nan, -6.5])
    assert found.figures() == {"energy_left_out": 1, "energy_left_out_real": 1, "energy_model": "abc"}
    assert watched["energies of generated crystals"] == [(0, 4), (2, 4), (4, 4)]
    assert watched["energies of real crystals"][-1] == (2, 2)


def test_distances_of_energies_by_hand():
    made, real = [rock_salt(edge=5 + number) for number in range(4)], [rock_salt()] * 3
    energies = Energies(np.array([-1.0, -2.0, np.nan, -4.0]), np.array([-1.5, np.nan, -2.5]), 1)
    valid = [GOOD, GOOD, GOOD, BAD]  # so that -1 and -2 are against -1.5 and -2.5
    found = distances_of_distributions(made, valid, real, energies=energies)
    assert found["wdist_energy"] == pytest.approx(0.5)
    assert found["wdist_density"] == distances_of_distributions(made, valid, real)["wdist_density"]
    assert mean_distances(made, valid, real, energies=energies)["wdist_energy_mean"] == pytest.approx(0.5)
    one = Energies(np.array([-1.0, -1.0, -3.0, -9.0]), np.array([-2.0, -2.0, -2.0]), 0)
    # The same are chosen as for the density: here one of three.
    for seed in range(6):
        found = distances_of_distributions(made, valid, real[:1], n=1, seed=seed, energies=one)
        row = min(range(3), key=lambda row: abs(abs(made[row].density - real[0].density) - found["wdist_density"]))
        assert found["wdist_energy"] == pytest.approx(abs(one.generated[row] + 2))


@pytest.mark.parametrize(
    "energies",
    [Energies(np.array([np.nan]), np.array([-1.0]), 1), Energies(np.array([-1.0]), np.array([np.nan]), 0)],
)
def test_without_a_known_energy_there_is_no_distance(energies):
    found = distances_of_distributions([rock_salt()], [GOOD], [rock_salt()], energies=energies)
    assert (found["wdist_energy"], found["wdist_density"]) == (None, 0.0)


# All together


def test_both_means_structure_and_the_composition_of_the_benchmark():
    for structure, composition, strict in itertools.product((True, False), repeat=3):
        assert Validity(structure, composition, strict).both is (structure and composition)


def test_validity_asks_for_both_sets_of_charges(no_smact):
    assert validity(rock_salt()) == Validity(True, True, True)
    assert validity(rock_salt("Li", "F", 4.0)) == Validity(True, True, False)
    assert validity(caesium_chloride()) == Validity(True, False, False)
    assert validity(rock_salt(edge=0.5)) == Validity(False, True, True)


NEAR, FAR = fingerprint(0, 0), fingerprint(9, 9)
GENERATED = [
    rock_salt(),
    rock_salt(edge=5.7),
    rock_salt("Li", "F", 4.0),
    caesium_chloride(),
    rock_salt("K", "Br", 0.5),
    rock_salt("K", "Br", 6.6),
]
PRINTS = [NEAR, NEAR, FAR, None, FAR, NEAR]
REAL = [rock_salt(), rock_salt("Mg", "O", 4.2)]


def judged(**changes):
    settings = {"cutoffs": Cutoffs(1, 1), "jobs": 1} | changes
    return report(8, GENERATED, PRINTS, REAL, [NEAR, FAR], **settings)


def test_shares_are_of_all_draws(no_smact):
    found = judged(training=[rock_salt(), rock_salt("Mg", "O", 4.2)])
    distance = mean_gap([s.density for s in (*GENERATED[:3], GENERATED[5])], [s.density for s in REAL * 2])
    assert found.samples == 8
    assert found.figures == {
        "samples": 8,
        "decoded": 6 / 8,
        "structural_validity": 5 / 8,  # the dense potassium bromide is not
        "compositional_validity": 5 / 8,  # caesium chloride is not
        "compositional_validity_strict": 4 / 8,
        "cov_recall": 1.0,
        "cov_precision": 5 / 8,
        "wdist_density": pytest.approx(distance),
        "wdist_num_elements": 0.0,
        "wdist_density_mean": pytest.approx(distance),  # all are fewer than 1,000, so each choice is the same
        "wdist_num_elements_mean": 0.0,
        "unique": 4 / 8,  # sodium chloride and potassium bromide come twice: volumes do not tell crystals apart
        "novel": 3 / 8,
    }
    assert found.repeated.tolist() == [
        [False, True],
        [True, True],
        [False, False],
        [False, False],
        [False, False],
        [True, False],
    ]


def test_energies_are_compared_where_there_is_a_network(no_smact, tmp_path):
    found = judged(predictor=Network())
    # Valid are edges of 5.64, 5.7, 4 and 6.6 angstrom; real ones have 5.64 and 4.2.
    distance = mean_gap([5.64, 5.7, 4.0, 6.6], [5.64, 4.2, 5.64, 4.2])
    expected = judged().figures | {
        "wdist_energy": pytest.approx(distance),
        "wdist_energy_mean": pytest.approx(distance),
    }
    assert found.figures == expected | {"energy_left_out": 0, "energy_left_out_real": 0, "energy_model": "abc"}
    energies = generation_table(GENERATED, found)["formation_energy_per_atom"]
    assert energies.tolist() == pytest.approx([-5.64, -5.7, -4.0, np.nan, np.nan, -6.6], nan_ok=True)
    assert judged().energies is None
    assert generation_table(GENERATED, judged())["formation_energy_per_atom"].isna().all()
    for name, given in (("three", None), ("four", found.energies)):
        draw_generation(GENERATED, REAL, tmp_path / f"{name}.png", given)
    shapes = [matplotlib.image.imread(tmp_path / f"{name}.png").shape for name in ("three", "four")]
    assert shapes[0][0] == shapes[1][0]
    assert shapes[0][1] < shapes[1][1]


def test_novelty_needs_training_crystals(no_smact):
    assert judged().figures["novel"] is None
    assert judged(training=[]).figures["novel"] == judged().figures["unique"] == 4 / 8


def test_a_model_that_decodes_nothing_is_judged_all_the_same(no_smact):
    found = report(5, [], [], REAL, [NEAR, FAR], cutoffs=CUTOFFS["mp20"], training=REAL, jobs=1)
    assert {name: value for name, value in found.figures.items() if value} == {"samples": 5}
    assert found.figures["wdist_density"] is None
    assert found.figures["wdist_density_mean"] is None
    assert generation_table([], found).empty


def test_the_table_has_a_row_for_each_crystal(no_smact):
    found = judged(training=[rock_salt()])
    rows = generation_table(GENERATED, found)
    assert rows["formula"].tolist() == ["NaCl", "NaCl", "LiF", "CsCl", "KBr", "KBr"]
    assert rows["density"].tolist() == pytest.approx([s.density for s in GENERATED])
    figures = found.figures
    for column, name in (
        ("structure_valid", "structural_validity"),
        ("composition_valid", "compositional_validity"),
        ("composition_valid_strict", "compositional_validity_strict"),
    ):
        assert rows[column].sum() / 8 == figures[name]
    assert rows["fingerprint"].tolist() == [True, True, True, False, True, True]
    assert (~rows["repeats_earlier"]).sum() / 8 == figures["unique"]
    assert (~rows["repeats_earlier"] & ~rows["repeats_training"]).sum() / 8 == figures["novel"]
    assert isinstance(rows, pd.DataFrame)


# Picture


def points(path, kind):
    """Number of blue or gray points in each third of a picture, blue bars lying over gray ones or not."""
    red, green, blue = np.moveaxis(matplotlib.image.imread(path)[..., :3], -1, 0)
    found = (
        blue - red > 0.2 if kind == "blue" else (np.ptp([red, green, blue], axis=0) < 0.01) & (abs(red - 0.7) < 0.01)
    )
    return [int(part.sum()) for part in np.array_split(found, 3, axis=1)]


def test_the_picture_is_the_same_for_the_same_crystals(tmp_path):
    for name in ("one.png", "other.png"):
        draw_generation(GENERATED[:4], REAL, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    assert min(points(tmp_path / "one.png", "blue")) > 1000


def test_a_picture_without_generated_crystals_shows_the_real_ones(tmp_path):
    draw_generation([], REAL, tmp_path / "empty.png")
    assert points(tmp_path / "empty.png", "blue") == [0, 0, 0]
    assert min(points(tmp_path / "empty.png", "gray")) > 1000
