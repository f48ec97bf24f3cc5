"""``benchmarks.straight_through``: what a model refuses is a miss."""

from __future__ import annotations

from pymatgen.core import Lattice, Structure

from benchmarks.straight_through import straight_through
from icsg3d.errors import InputError
from icsg3d.evaluation.reconstruction import compare, summarise


class Made:
    """What a model has made: the crystal itself."""

    def __init__(self, structure):
        self.structure = structure

    def in_setting(self, setting):
        assert setting == f"setting of {self.structure.formula}"
        return self


class Knows:
    """A model that knows no xenon."""

    def prepare(self, structure):
        if "Xe" in structure.formula:
            raise InputError("xenon")
        return None, f"setting of {structure.formula}"

    def encode(self, structures):
        return structures

    def decode(self, latents):
        return [Made(latent) for latent in latents]


def cube(symbol):
    return Structure(Lattice.cubic(3), [symbol], [[0, 0, 0]])


def test_what_is_refused_is_a_miss(capsys):
    crystals = [cube(symbol) for symbol in ("Xe", "Po", "Xe", "Fe")]
    made = straight_through(Knows(), crystals)
    assert made == [None, crystals[1], None, crystals[3]]
    assert capsys.readouterr().out == "refused: 2\n"
    figures = summarise([compare(true, found) for true, found in zip(crystals, made, strict=True)])
    assert (figures["crystals"], figures["match_rate"]) == (4, 0.5)
    assert straight_through(Knows(), crystals[:1]) == [None]
