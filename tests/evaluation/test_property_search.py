from __future__ import annotations

from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.errors import InputError
from icsg3d.evaluation import property_search
from icsg3d.evaluation.property_search import BEST, SHARES, SearchResult, search_from, success_rates
from icsg3d.generation.decoded import DecodedCrystal, Located
from icsg3d.generation.search import Visited
from icsg3d.report.evaluations import draw_search

METALS = ("Li", "Na", "K", "Rb", "Cs", "Be", "Mg", "Ca", "Sr", "Ba", "Ti", "Zr")
START = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])


def pair(metal, edge=4.0):
    return Structure(Lattice.cubic(edge), [metal, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def visit(monkeypatch):
    """Let the search come by given crystals, and keep what it was asked."""
    asked = {}

    def script(crystals, values):
        def search(generator, predictor, start, target, **options):
            asked.update(generator=generator, predictor=predictor, start=start, target=target, **options)
            return [Visited(c, v, 0.1, 1.0, 0) for c, v in zip(crystals, values, strict=True)]

        monkeypatch.setattr(property_search, "optimize_property", search)
        return asked

    return script


def edges(structures):
    """A judge by the size of cells."""
    return np.array([structure.lattice.a for structure in structures])


# One start


def test_the_crystals_nearest_to_the_target_are_judged_best_first(visit):
    asked = visit([pair(m, 4 + n) for n, m in enumerate(METALS[:4])], [-1.0, -3.5, -2.9, 5.0])
    result = search_from("generator", "searcher", edges, START, -3.0, rounds=3, draws=5, seed=7)
    assert result.start == "NaCl"
    assert [s[0].species_string for s in result.structures] == ["K", "Na", "Li", "Rb"]
    assert result.searched.tolist() == [-2.9, -3.5, -1.0, 5.0]
    assert result.judged.tolist() == [6.0, 5.0, 4.0, 7.0]
    assert asked == {
        "generator": "generator",
        "predictor": "searcher",
        "start": START,
        "target": -3.0,
        "rounds": 3,
        "draws": 5,
        "seed": 7,
    }


def test_no_more_than_ten_are_judged(visit):
    judged = []
    visit([pair(m) for m in METALS], range(12))
    result = search_from(None, None, lambda s: judged.append(s) or np.zeros(len(s)), START, 0.0)
    assert BEST == 10
    assert [s[0].species_string for s in result.structures] == list(METALS[:10])
    assert len(result.searched) == len(result.judged) == 10
    assert judged == [result.structures]


def test_the_same_crystal_is_judged_once_by_its_best_value(visit):
    moved = pair("Li")
    moved.translate_sites([0, 1], [0.2, 0.3, 0.4])
    layers = Structure(Lattice.tetragonal(3, 9), ["Li", "O"], [[0, 0, 0], [0, 0, 0.4]])
    crystals = [pair("Li"), pair("Na"), moved * [1, 1, 2], layers, pair("Na")]
    visit(crystals, [0.4, 0.1, 0.2, 0.3, 0.0])
    result = search_from(None, None, edges, START, 0.0)
    assert result.searched.tolist() == [0.0, 0.2, 0.3]  # sodium, lithium, and lithium in another structure
    assert [len(s) for s in result.structures] == [2, 4, 2]


class Steps:
    """A latent space whose neighbours are steps of unit size."""

    fixed_cells = False

    def around(self, origin, cell, n, scale, seed, first=0):
        return origin + scale * np.random.default_rng((seed, first)).standard_normal((n, 1))

    def coordinates(self, latents):
        return np.asarray(latents)

    def at(self, coordinates, base):
        return coordinates


class Line:
    """A latent space of one dimension with another metal in each interval."""

    space = Steps()

    def placed(self, crystal):
        return Located(crystal, None, SimpleNamespace(apply=lambda structure: structure), np.array([5.5]))

    def decode(self, latent):
        return [DecodedCrystal(pair(METALS[int(np.clip(each[0], 0, 11))]), "", each) for each in latent]

    def latent_distance(self, latent, origin):
        return np.abs(np.asarray(latent) - origin)[:, 0]


class Metal:
    """A property that falls from metal to metal."""

    def predict_possible(self, structures):
        values = np.array([-float(METALS.index(s[0].species_string)) for s in structures])
        return SimpleNamespace(values=values, stds=np.zeros(len(values)))


def test_a_search_of_a_line_finds_its_end():
    settings = {"target": -11.0, "rounds": 8, "draws": 16}
    result = search_from(Line(), Metal(), lambda s: Metal().predict_possible(s).values, START, **settings)
    assert result.structures[0] == pair("Zr")
    assert result.searched.tolist() == result.judged.tolist() == sorted(result.searched)
    assert len({s.formula for s in result.structures}) == len(result.structures)
    again = search_from(Line(), Metal(), lambda s: Metal().predict_possible(s).values, START, **settings)
    assert again.structures == result.structures
    first = search_from(Line(), Metal(), lambda s: Metal().predict_possible(s).values, START, -11.0, rounds=1, draws=2)
    assert len(first.structures) <= 2


# Many starts


def result(*judged):
    return SearchResult("NaCl", [START] * len(judged), np.zeros(len(judged)), np.array(judged, dtype=float))


def test_success_is_to_lie_among_the_lowest_of_the_training_crystals():
    training = np.random.default_rng(0).permutation(np.arange(101.0))
    results = [result(50, 4), result(9, 70), result(5, 99), result(14.9, 3, 12), result(80, 16)]
    assert SHARES == (0.05, 0.10, 0.15)
    assert success_rates(results, training) == pytest.approx(
        {
            "starts": 5,
            "sr5_limit": 5.0,
            "sr5": 3 / 5,  # the limit itself counts
            "sr5_first": 1 / 5,
            "sr10_limit": 10.0,
            "sr10": 4 / 5,
            "sr10_first": 2 / 5,
            "sr15_limit": 15.0,
            "sr15": 4 / 5,
            "sr15_first": 3 / 5,
        }
    )


def test_limits_lie_between_training_values_and_unknown_ones_do_not_count():
    training = np.array([np.nan, 0.0, np.inf, 1.0, -np.inf, np.nan])
    figures = success_rates([result(0.12)], training)
    assert [figures[f"sr{share}_limit"] for share in (5, 10, 15)] == pytest.approx([0.05, 0.10, 0.15])
    assert [figures[f"sr{share}"] for share in (5, 10, 15)] == [0.0, 0.0, 1.0]


def test_rates_grow_with_the_share_and_with_the_choice():
    random = np.random.default_rng(1)
    results = [result(*random.normal(-1.5, 0.5, 10)) for _ in range(30)]
    figures = success_rates(results, random.normal(size=500))
    assert 0 < figures["sr5_first"] <= figures["sr10_first"] <= figures["sr15_first"] < 1
    assert all(figures[f"sr{share}_first"] < figures[f"sr{share}"] <= 1 for share in (5, 10, 15))


@pytest.mark.parametrize(
    ("results", "training"), [([], np.arange(9.0)), ([result(1)], np.full(3, np.nan)), ([result(1)], np.array([]))]
)
def test_rates_of_nothing_are_refused(results, training):
    with pytest.raises(InputError, match="need at least one start and training crystals with values"):
        success_rates(results, training)


# Picture


def test_the_picture_shows_three_sets_and_is_the_same_for_the_same_results(tmp_path):
    random = np.random.default_rng(1)
    results = [result(*random.normal(-4, 0.3, 10)) for _ in range(30)]
    training = np.append(random.normal(size=500), np.nan)
    for name in ("one.png", "other.png"):
        draw_search(results, training, "heat (eV/atom)", tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    picture = matplotlib.image.imread(tmp_path / "one.png")[..., :3]
    red, _, blue = np.moveaxis(picture, -1, 0)
    columns = [np.flatnonzero((difference > 0.2).any(0)) for difference in (blue - red, red - blue)]
    assert all(len(each) > 20 for each in columns)
    # The finds lie left of the middle of the training crystals, the best of ten left of the first choice.
    assert columns[0].min() < columns[1].min() < picture.shape[1] / 2
