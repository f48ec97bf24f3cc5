"""The generator, on an untrained model (contracts) and on the shipped one (crystals)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.arrays import CrystalBatch, centred
from icsg3d.crystals.structures import from_arrays
from icsg3d.errors import InputError
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.models.decoding import SYMMETRY_TOLERANCE, Decoded
from icsg3d.models.density import LatentDensity
from icsg3d.representation.voxels import VoxelConfig


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return CrystalGenerator.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def cubic():
    return CrystalGenerator.from_pretrained("cubic")


def perovskite(a="Sr", b="Ti", x="O", edge=3.905):
    return Structure.from_spacegroup("Pm-3m", Lattice.cubic(edge), [a, b, x], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]])


def test_every_latent_gets_a_structure_or_a_reason(tiny):
    latent = np.random.default_rng(0).normal(size=(70, 16))
    decoded = tiny.decode(latent)
    assert len(decoded) == 70
    for vector, crystal in zip(latent, decoded, strict=True):
        assert (crystal.structure is None) == bool(crystal.reason)
        np.testing.assert_allclose(crystal.latent, vector, rtol=1e-6)


def test_latent_does_not_depend_on_the_batch(tiny):
    crystals = [prototype_structure(f) for f in ("SrTiO3", "NaCl", "Cu2MnAl")] * 15
    together = tiny.encode(crystals)
    alone = tiny.encode(crystals[1:2])
    np.testing.assert_array_equal(together[1], alone[0])
    np.testing.assert_array_equal(together[1], together[43])


@pytest.mark.slow
def test_samples_do_not_depend_on_their_number(cubic):
    few = cubic.sample_around(perovskite(), 3, scale=0.2, seed=5)
    many = cubic.sample_around(perovskite(), 40, scale=0.2, seed=5)
    for one, other in zip(few, many, strict=False):
        np.testing.assert_array_equal(one.latent, other.latent)
        assert one.reason == other.reason
        assert one.structure == other.structure
    other_seed = cubic.sample_around(perovskite(), 3, scale=0.2, seed=6)
    assert not np.allclose(few[0].latent, other_seed[0].latent)


@pytest.mark.slow
def test_unconditional_samples_are_reproducible(cubic):
    first, second = cubic.sample(4, seed=1), cubic.sample(9, seed=1)
    assert [c.structure for c in first] == [c.structure for c in second[:4]]


def test_encoding_ignores_origin_cell_and_order_of_atoms(cubic):
    base = perovskite()
    moved = base.copy()
    moved.translate_sites(range(5), [0.13, 0.41, 0.77])
    shuffled = Structure(base.lattice, base.species[::-1], base.frac_coords[::-1])
    latent = cubic.encode([base, moved, shuffled, base.make_supercell([2, 1, 1], in_place=False)])
    for other in latent[1:]:
        np.testing.assert_allclose(other, latent[0], atol=2e-2)


def test_input_is_left_untouched(cubic):
    base = perovskite()
    before = base.copy()
    cubic.sample_around(base, 2, seed=0)
    cubic.reconstruct([base])
    assert base == before


@pytest.mark.slow
def test_known_crystal_is_rebuilt_in_its_own_cell(cubic):
    heusler = prototype_structure("Cu2MnAl")
    heusler.scale_lattice(5.95**3)
    salt = prototype_structure("NaCl")
    for crystal in (perovskite(), heusler, salt):
        rebuilt = cubic.reconstruct([crystal])[0]
        assert rebuilt.structure is not None, rebuilt.reason
        assert len(rebuilt.structure) == len(crystal)
        assert rebuilt.structure.composition == crystal.composition
        assert StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).fit(crystal, rebuilt.structure)
        np.testing.assert_allclose(rebuilt.structure.lattice.abc, crystal.lattice.abc, rtol=0.03)
        np.testing.assert_allclose(rebuilt.structure.lattice.angles, 90, atol=1.5)


def misplaced(true, found):
    """Largest distance from a site to the nearest one of the same element in the other crystal, in angstrom."""
    distances = true.lattice.get_all_distances(true.frac_coords, found.frac_coords)
    same = np.array([[one == other for other in found.species] for one in true.species])
    return max(np.where(same, distances, np.inf).min(axis).max() for axis in (0, 1))


def elsewhere():
    """Crystals in several cells whose atoms do not lie where the networks would put the origin."""
    heusler = prototype_structure("Cu2MnAl")
    heusler.scale_lattice(5.95**3)
    crystals = [perovskite(), heusler, prototype_structure("NaCl"), perovskite() * [1, 1, 2]]
    for number, crystal in enumerate(crystals):
        crystal.translate_sites(range(len(crystal)), [0.13, 0.41 + number / 10, 0.77])
    return crystals


def test_a_perfect_model_puts_every_atom_back_where_it_was(tiny, monkeypatch):
    crystals = elsewhere()
    seen = []

    def encode(arrays, bins):
        seen[:] = centred(CrystalBatch.from_arrays(arrays)).arrays()  # as the networks are given them
        return np.zeros((len(arrays), 16))

    monkeypatch.setattr(tiny.space, "encode", encode)
    monkeypatch.setattr("icsg3d.generation.spaces.inverted_latents", lambda _network, _crystals, _bins, latent: latent)
    monkeypatch.setattr(tiny.space, "decode", lambda latent, bins, tolerance: [Decoded(each) for each in seen])
    for true, rebuilt in zip(crystals, tiny.reconstruct(crystals), strict=True):
        assert len(rebuilt.structure) == len(true)
        assert misplaced(true, rebuilt.structure) < 1e-4
    around = [tiny.sample_around(each, 1)[0].structure for each in crystals]
    for true, drawn in zip(crystals, around, strict=True):
        assert misplaced(true, drawn) < 1e-4


def test_a_trained_model_puts_every_atom_near_where_it_was(cubic):
    for true, rebuilt in zip(elsewhere(), cubic.reconstruct(elsewhere()), strict=True):
        assert misplaced(true, rebuilt.structure) < 0.2


def test_the_origin_is_an_atom_of_the_rarest_and_least_electronegative_element(tiny):
    crystal = perovskite()  # strontium at the corner, moved
    crystal.translate_sites(range(5), [0.1, 0.2, 0.3])
    arrays, setting = tiny.prepare(crystal)
    strontium = arrays.frac_coords[arrays.numbers == 38][0]
    np.testing.assert_allclose(setting.origin, strontium, atol=1e-6)
    np.testing.assert_allclose(np.sort(setting.origin), [0.1, 0.2, 0.3], atol=1e-6)


def test_without_periodic_grids_the_origin_is_the_given_one(tiny, monkeypatch):
    config = dataclasses.replace(tiny.space.network.config, voxels=VoxelConfig.preset("paper"))
    monkeypatch.setattr(tiny.space.network, "config", config)
    crystal = elsewhere()[0]
    arrays, setting = tiny.prepare(crystal)
    assert setting.origin.tolist() == [0, 0, 0]
    assert misplaced(crystal, setting.apply(from_arrays(arrays))) < 1e-6


def test_atoms_and_structures_are_the_same_crystal(cubic):
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    structure = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    first, second = cubic.encode([atoms, structure])
    np.testing.assert_allclose(first, second, atol=1e-3)


@pytest.mark.slow
def test_path_begins_and_ends_at_the_crystals(cubic):
    path = cubic.interpolate(perovskite("Sr"), perovskite("Ba", edge=4.0), steps=5)
    assert len(path) == 5
    first, last = cubic.encode([perovskite("Sr"), perovskite("Ba", edge=4.0)])
    np.testing.assert_allclose(path[0].latent, first, atol=1e-4)
    np.testing.assert_allclose(path[4].latent, last, atol=1e-4)
    distances = [np.linalg.norm(point.latent - first) for point in path]
    assert distances == sorted(distances)
    assert path[2].structure is not None


@pytest.mark.slow
def test_each_base_meets_noise_of_its_own(cubic):
    base = cubic.place([perovskite("Sr")])[0]
    cells = [cubic.prepare(perovskite(a, edge=edge))[0] for a, edge in (("Sr", 3.9), ("Ba", 3.9), ("Sr", 4.1))]
    own, other, stretched = (cubic.space.around(base.latent, cell, 2, 0.5, 0) for cell in cells)
    assert not np.allclose(own, other, atol=1e-2)
    np.testing.assert_array_equal(own, stretched)


def test_most_neighbours_differ_and_keep_the_stoichiometry(cubic):
    found = [each.structure for each in cubic.sample_around(perovskite("Sr"), 24) if each.structure is not None]
    formulas = {structure.composition.reduced_formula for structure in found}
    assert len(formulas) > 8
    assert np.mean([structure.composition.anonymized_formula == "ABC3" for structure in found]) > 0.8


def test_the_tolerance_of_symmetry_reaches_the_decoder(tiny, tiny_model, monkeypatch):
    asked = []

    def decode(network, latent, condition, *, count, symmetry_tolerance):
        asked.append(symmetry_tolerance)
        return [Decoded(None, "nothing")] * count

    monkeypatch.setattr("icsg3d.generation.spaces.decode_crystals", decode)
    tiny.decode(np.zeros((1, 16)))
    CrystalGenerator.from_pretrained(tiny_model, symmetry_tolerance=0.0).decode(np.zeros((1, 16)))
    assert asked == [SYMMETRY_TOLERANCE, 0.0]


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_distance_is_refused(tiny_model, tolerance):
    with pytest.raises(InputError, match=r"the tolerance of symmetry.* a distance in angstrom"):
        CrystalGenerator.from_pretrained(tiny_model, symmetry_tolerance=tolerance)


def test_draws_with_a_condition_follow_guidance_and_temperature_of_the_model(tiny, monkeypatch):
    given = []
    monkeypatch.setattr(LatentDensity, "sample", lambda self, *arguments: given.append(arguments) or np.zeros((1, 16)))
    network = tiny.space.network
    monkeypatch.setattr(network, "config", dataclasses.replace(network.config, guidance=3.5, temperature=0.6))
    tiny.latent_sample(1, -0.1, 4)
    assert given == [(1, 9, 4, 3.5, 0.6, 0)]


def test_condition_reaches_the_decoder(tiny):
    latent = tiny.latent_sample(3, seed=0)
    low, high, same = (  # the last is of the first bin
        np.stack([each.density for each in tiny.decode_maps(latent, energy)]) for energy in (-2.9, -0.1, -2.95)
    )
    assert not np.allclose(low, high)
    np.testing.assert_array_equal(low, same)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.sample_around(perovskite(), 0), "at least 1, got 0"),
        (lambda g: g.sample_around(perovskite(), 2, scale=0.0), "above 0"),
        (lambda g: g.sample_around(perovskite(), 2, scale=float("nan")), "above 0"),
        (lambda g: g.sample_around(perovskite(), 2, scale=1.2), "up to 1, got 1.2"),
        (lambda g: g.sample(-1), "at least 1"),
        (lambda g: g.sample(2, seed=-1), "0 or more, got -1"),
        (lambda g: g.sample_around(perovskite(), 2, seed=-3), "0 or more, got -3"),
        (lambda g: g.sample(2, condition=float("nan")), "in eV per atom, is a finite number, got nan"),
        (lambda g: g.sample(2, condition=float("-inf")), "in eV per atom, is a finite number, got -inf"),
        (lambda g: g.interpolate(perovskite(), perovskite(), steps=1), "at least 2 steps"),
        (lambda g: g.encode([]), "at least one"),
        (lambda g: g.encode([perovskite("Xe")]), "Xe, which the model tiny was not trained on"),
        (lambda g: g.encode([perovskite(edge=12.0)]), "12.0 angstrom long"),
        (lambda g: g.encode([42]), "got int"),
        (lambda g: g.decode(np.zeros((2, 5))), r"shape \(n, 16\), got \(2, 5\)"),
        (lambda g: g.decode(np.full((1, 16), np.nan)), "finite"),
        (lambda g: g.encode([perovskite()], condition=[1.0, 2.0]), "2 conditions were given for 1"),
    ],
)
def test_wrong_input_is_named(tiny, call, message):
    with pytest.raises(InputError, match=message):
        call(tiny)


def test_unknown_model_is_named():
    with pytest.raises(InputError, match="no model 'nonesuch'; shipped are cubic"):
        CrystalGenerator.from_pretrained("nonesuch")


def test_rebuilds_held_out_crystals(cubic, data_folder):
    from icsg3d.data import load_structures

    structures = load_structures(data_folder / "icsg3d_val.json.gz").structures[::6]
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    rebuilt = cubic.reconstruct([s for s in structures if max(s.lattice.abc) < 9])
    kept = [s for s in structures if max(s.lattice.abc) < 9]
    right = [r.structure is not None and matcher.fit(s, r.structure) for s, r in zip(kept, rebuilt, strict=True)]
    assert np.sum(right) / len(structures) >= 0.9  # 97.7 % over all crystals; see docs/benchmarks.md
