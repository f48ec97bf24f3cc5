"""Candidates by number, whichever are asked for."""

from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate, Draws
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.sources import ElementExchanges, GivenCandidates, LatentDraws

PEROVSKITE = Structure.from_spacegroup(
    "Pm-3m", Lattice.cubic(3.905), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]
)


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return CrystalGenerator.from_pretrained(tiny_model)


@pytest.mark.slow
@pytest.mark.parametrize("base", [None, PEROVSKITE])
def test_draws_are_the_same_in_whatever_parts_they_come(tiny, base):
    whole = list(Draws.make(tiny, base, 12, seed=3).candidates(tiny))
    source = LatentDraws(tiny, base, 12, seed=3)
    parts = [*source.candidates([0, 1, 2]), *source.candidates([5, 7, 11])]
    assert [each.index for each in parts] == [0, 1, 2, 5, 7, 11]
    for each in parts:
        expected = whole[each.index]
        assert (each.reason, each.structure) == (expected.reason, expected.structure)
        assert each.latent_distance == pytest.approx(expected.latent_distance)
        assert (each.seed, each.scale, each.base) == (3, expected.scale, expected.base)
    assert list(source.candidates([])) == []


def test_a_model_that_knows_no_elements_is_not_led_by_them(tiny):
    led, free = LatentDraws(tiny, None, 3, seed=1, within={"Ti", "O"}), LatentDraws(tiny, None, 3, seed=1)
    assert led.within == []
    assert (led.draws(0, 3).latent == free.draws(0, 3).latent).all()


def test_widening_draws_go_further_away_with_their_number(tiny):
    source = LatentDraws(tiny, PEROVSKITE, 5000, scale=0.65, seed=3, widening=True)
    numbers = [0, 499, 500, 749, 750, 1249, 1250, 4999]
    assert [source.scale_of(n) for n in numbers] == [0.65, 0.65, 0.75, 0.75, 0.85, 0.95, 1.0, 1.0]
    found = list(source.candidates([498, 499, 500, 501]))
    assert [(each.index, each.scale) for each in found] == [(498, 0.65), (499, 0.65), (500, 0.75), (501, 0.75)]
    near = next(LatentDraws(tiny, PEROVSKITE, 5000, scale=0.65, seed=3).candidates([499]))
    far = next(LatentDraws(tiny, PEROVSKITE, 5000, scale=0.75, seed=3).candidates([500]))
    assert [each.latent_distance for each in found[1:3]] == [near.latent_distance, far.latent_distance]
    latents = source.latents(502)
    assert len(latents) == 502
    assert (latents[501] == source.draws(501, 1).latent[0]).all()


def test_free_draws_do_not_widen(tiny):
    source = LatentDraws(tiny, None, 600, widening=True)
    assert not source.widening
    assert source.scale is None


@pytest.mark.slow
def test_what_cannot_be_drawn_is_refused_at_once(tiny):
    with pytest.raises(InputError, match="seed"):
        LatentDraws(tiny, None, 5, seed=-1)
    with pytest.raises(InputError, match="above 0 and up to 1, got 2"):
        LatentDraws(tiny, PEROVSKITE, 5, scale=2)


def test_exchanges_keep_the_cell_and_the_sites():
    source = ElementExchanges(PEROVSKITE, 4, {"Sr": 2, "Ti": 4, "O": -2}, {"Ba", "Ca", "Zr", "O"})
    found = list(source.candidates([0, 2]))
    assert [each.index for each in found] == [0, 2]
    assert {each.base for each in found} == {"SrTiO3"}
    assert {each.model for each in found} == {"exchange"}
    for each in found:
        assert each.structure.lattice == PEROVSKITE.lattice
        assert (each.structure.frac_coords == PEROVSKITE.frac_coords).all()
        assert set(each.structure.composition.as_dict()) <= {"Ba", "Ca", "Zr", "O", "Sr", "Ti"}
    assert found[0].formula == "BaTiO3"


def test_there_may_be_fewer_exchanges_than_were_asked_for():
    assert ElementExchanges(PEROVSKITE, 50, {"Sr": 2, "Ti": 4, "O": -2}, {"Ba"}).limit == 1


def test_given_candidates_are_given_back():
    given = [Candidate(index, None, "none") for index in range(3)]
    assert list(GivenCandidates(given, len(given)).candidates([0, 2])) == [given[0], given[2]]
