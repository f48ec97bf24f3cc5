"""The latent space of crystals of any cell, on an untrained model (contracts)."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.cells import reduced_cell
from icsg3d.crystals.structures import from_arrays, primitive_cell
from icsg3d.errors import InputError
from icsg3d.generation import grid_inversion
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.grid_space import GridSpace
from icsg3d.generation.sources import LatentDraws
from icsg3d.models.checkpoints import CONFIG_FILE, write_model
from icsg3d.models.decoding import Decoded
from icsg3d.models.grid_decoding import among
from icsg3d.models.grid_flow import GridFlowConfig
from icsg3d.models.grid_generator import (
    GRID_GENERATOR_FORMAT,
    GridGeneratorConfig,
    load_grid_networks,
    save_grid_networks,
)
from icsg3d.models.grid_vae import GridVAEConfig
from icsg3d.models.known_crystals import KnownCrystals
from icsg3d.report.page.grids import decode_again
from icsg3d.representation.sites import Sites
from icsg3d.training.grid_data import GridSet
from icsg3d.training.materials import MaterialsData, untrained

CONFIG = GridGeneratorConfig(
    vae=GridVAEConfig(
        latent=4, species=8, embedding=8, encoder=(8, 8, 8), decoder=(8, 8, 8), encoder_blocks=(0, 1, 1),
        decoder_blocks=(0, 1, 1),
    ),
    flow=GridFlowConfig(latent=4, width=16, layers=1, heads=2),
)  # fmt: skip


def textbook():
    """Crystals of many symmetries, from space group and positions."""
    hexagonal = Lattice.hexagonal
    return {
        "rutile": Structure.from_spacegroup(
            "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
        ),
        "wurtzite": Structure.from_spacegroup(
            "P6_3mc", hexagonal(3.25, 5.207), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]]
        ),
        "fluorite": Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.46), ["Ca", "F"], [[0, 0, 0], [0.25] * 3]),
        "corundum": Structure.from_spacegroup(
            "R-3c", hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.352], [0.306, 0, 0.25]]
        ),
        "quartz": Structure.from_spacegroup(
            "P3_221", hexagonal(4.91, 5.4), ["Si", "O"], [[0.47, 0, 2 / 3], [0.4135, 0.2669, 0.7858]]
        ),
        "molybdenite": Structure.from_spacegroup(
            "P6_3/mmc", hexagonal(3.16, 12.3), ["Mo", "S"], [[1 / 3, 2 / 3, 0.25], [1 / 3, 2 / 3, 0.621]]
        ),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    crystals = [reduced_cell(primitive_cell(each)[0]) for each in textbook().values()]
    shown = GridSet.make(crystals, CONFIG.vae.fields)
    energies = np.linspace(-3, 0, len(crystals))
    networks = untrained(CONFIG, MaterialsData(shown, shown, energies, energies))
    for parameter in networks.flow.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("models") / "grids"
    save_grid_networks(networks, folder)
    return folder


@pytest.fixture(scope="module")
def generator(folder):
    return CrystalGenerator.from_pretrained(folder)


@pytest.fixture(autouse=True)
def no_descent(monkeypatch):
    """An untrained network has nothing to find; looking for it would take most of the time."""
    monkeypatch.setattr(grid_inversion, "STEPS", 0)


@pytest.fixture
def exact(generator, monkeypatch):
    """A generator whose networks rebuild without an error: what is left is what the package does around them."""
    seen = {}

    def locate(self, cells, bins):
        found = self.encode(cells, bins)
        seen.update({each.grid.tobytes(): (cell, each) for cell, each in zip(cells, found, strict=True)})
        return found

    def decode(self, latents, bins, tolerance):
        for each in latents:
            cell = seen[each.grid.tobytes()][0]
            origin = self.cell(from_arrays(cell))[1].origin
            yield Decoded(CrystalArrays(cell.numbers, (cell.frac_coords - origin) % 1, cell.lattice), "", 0.9)

    monkeypatch.setattr(GridSpace, "locate", locate)
    monkeypatch.setattr(GridSpace, "decode", decode)
    return generator


@pytest.mark.parametrize("name", sorted(textbook()))
@pytest.mark.parametrize("change", [np.eye(3, dtype=int), np.array([[1, 1, 0], [0, 1, 0], [0, 2, 1]])])
def test_crystals_come_back_in_the_cell_and_place_in_which_they_were_given(exact, name, change):
    given = textbook()[name]
    given.translate_sites(range(len(given)), [0.13, 0.41, 0.77])
    given.make_supercell(change)
    found = exact.reconstruct([given])[0]
    assert found.certainty == 0.9
    np.testing.assert_allclose(found.structure.lattice.parameters, given.lattice.parameters, atol=1e-5)
    distances = given.lattice.get_all_distances(given.frac_coords, found.structure.frac_coords)
    same = np.array(given.atomic_numbers)[:, None] == np.array(found.structure.atomic_numbers)
    assert np.where(same, distances, np.inf).min(1).max() < 1e-4
    assert len(found.structure) == len(given)


def test_the_model_is_read_as_it_was_written(folder, generator):
    networks, digest = load_grid_networks(folder)
    assert generator.as_dict() == {"model": "grids", "model_sha256": digest}
    assert networks.config == generator.config
    assert generator.elements == ("O", "F", "Al", "Si", "S", "Ca", "Ti", "Zn", "Mo")
    for row, given in enumerate(textbook().values()):
        found, true = networks.known.crystal(row), reduced_cell(primitive_cell(given)[0])
        np.testing.assert_allclose(found.lattice @ found.lattice.T, true.lattice @ true.lattice.T, atol=1e-4)
        assert found.numbers.tolist() == true.numbers.tolist()
        apart = (found.frac_coords - true.frac_coords + 0.5) % 1 - 0.5
        assert np.abs(apart).max() < 1e-5


def test_known_crystals_that_do_not_fit_together_are_refused(folder):
    tensors = load_grid_networks(folder)[0].known.tensors()
    with pytest.raises(InputError, match=r"do not fit together \(numbers\)"):
        KnownCrystals.from_tensors(tensors | {"known.numbers": tensors["known.numbers"][1:]})
    with pytest.raises(InputError, match="atomic numbers"):
        KnownCrystals.from_tensors(tensors | {"known.numbers": 0 * tensors["known.numbers"]})


def test_a_model_without_its_crystals_is_refused(folder, tmp_path):
    networks, _ = load_grid_networks(folder)
    parts = {"vae": networks.vae, "flow": networks.flow}
    write_model(tmp_path, GRID_GENERATOR_FORMAT, dataclasses.asdict(networks.config), parts)
    with pytest.raises(InputError, match="lacks its known crystals"):
        CrystalGenerator.from_pretrained(tmp_path)
    (tmp_path / CONFIG_FILE).write_text("{}")
    with pytest.raises(InputError, match="is not the configuration"):
        CrystalGenerator.from_pretrained(tmp_path)


def test_draws_do_not_depend_on_their_number(generator):
    few, many = generator.latent_sample(3, seed=5), generator.latent_sample(12, seed=5)
    for one, other in zip(few, many, strict=False):
        np.testing.assert_array_equal(one.grid, other.grid)
        np.testing.assert_array_equal(one.lattice, other.lattice)
        assert one.atoms == other.atoms
    others = generator.latent_sample(3, seed=6)
    assert any(one.grid.shape != other.grid.shape or not np.allclose(one.grid, other.grid)
               for one, other in zip(few, others, strict=True))  # fmt: skip
    base = textbook()["rutile"]
    around = generator.latent_around(base, 3, seed=5), generator.latent_around(base, 10, seed=5)
    for one, other in zip(*around, strict=False):
        np.testing.assert_array_equal(one.grid, other.grid)


def test_draws_begin_at_known_crystals_and_have_their_cells(generator):
    known = generator.space.networks.known
    lattices = [known.crystal(row).lattice for row in range(len(known))]
    for latent in generator.latent_sample(12, seed=1):
        same = [np.allclose(latent.lattice, lattice, atol=1e-4) for lattice in lattices]
        assert sum(same) == 1
        row = same.index(True)
        assert latent.atoms == known.atoms[row]
        assert latent.grid.shape == (*generator.space.networks.blocks(latent.lattice), 4)
        # Orbits are those of the crystal: in each of these, one for each element.
        begins = known.crystal(row).numbers
        assert len(np.unique(latent.orbits.labels)) == len(np.unique(begins))


def test_at_a_scale_of_nothing_draws_are_known_crystals(generator, monkeypatch):
    config = replace(generator.space.config, free_scale=1e-6)
    monkeypatch.setattr(generator.space, "config", config)
    known = generator.space.networks.known
    own = [generator.encode([from_arrays(known.crystal(row))])[0] for row in range(len(known))]
    for latent in generator.latent_sample(6, seed=3):
        alike = [each for each in own if each.grid.shape == latent.grid.shape]
        assert min(np.abs(each.grid - latent.grid).max() for each in alike) < 1e-3


def test_elements_and_energies_choose_among_known_cells(generator):
    oxide = generator.latent_sample(8, seed=0, elements=("Ti", "O"))
    assert {latent.atoms for latent in oxide} == {6}  # rutile is the only crystal of these two
    lowest = generator.latent_sample(8, condition=-3.5)
    assert {latent.atoms for latent in lowest} == {6}  # so is it in the lowest bin
    with pytest.raises(InputError, match="does not know Au"):
        generator.latent_sample(1, elements=("Au",))


def test_free_draws_are_led_by_the_elements_that_are_allowed(generator):
    source = LatentDraws(generator, None, 12, within={"Ti", "O", "Zn", "S", "Og"})
    assert source.within == ["O", "S", "Ti", "Zn"]
    assert {latent.atoms for latent in source.draws(0, 12).latent} == {4, 6}  # wurtzite and rutile
    assert all(latent.allowed == {8, 16, 22, 30} for latent in source.draws(0, 12).latent)
    for each in source.candidates(range(12)):
        assert each.structure is None or set(each.structure.symbol_set) <= {"O", "S", "Ti", "Zn"}
    alone = source.draws(7, 1).latent[0]
    assert np.allclose(alone.grid, source.draws(0, 12).latent[7].grid, atol=1e-5)
    around = LatentDraws(generator, textbook()["fluorite"], 2, within={"Ti", "O"})
    assert around.within == []  # a base says itself where to begin


def test_atoms_are_read_as_the_most_probable_of_the_elements_that_are_allowed():
    shares = np.zeros((2, 94))
    shares[0, [7, 15, 25]] = 0.2, 0.3, 0.5  # O, S, Fe
    shares[1, [7, 25]] = 0.9, 0.1
    found = among(Sites(np.array([26, 8]), np.zeros((2, 3)), shares), frozenset({8, 16, 22}))
    assert found.numbers.tolist() == [16, 8]
    assert found.shares[:, [7, 15, 25]].tolist() == [[0.2, 0.3, 0.0], [0.9, 0.0, 0.0]]


def test_crystals_of_as_many_elements_stand_in_for_unknown_sets():
    crystals = [
        CrystalArrays(np.array([8]), np.zeros((1, 3)), np.eye(3)),
        CrystalArrays(np.array([8, 22]), np.zeros((2, 3)), np.eye(3)),
        CrystalArrays(np.array([8, 26]), np.zeros((2, 3)), np.eye(3)),
    ]
    cells = KnownCrystals.of(crystals, np.array([0, 1, -1]))
    assert cells.rows(-1, frozenset()).tolist() == [0, 1, 2]
    assert cells.rows(-1, frozenset({8, 22})).tolist() == [1]
    assert cells.rows(-1, frozenset({16, 30})).tolist() == [1, 2]
    assert cells.rows(1, frozenset({8})).tolist() == [1]
    with pytest.raises(InputError, match="in bin 5"):
        cells.rows(5, frozenset())
    assert cells.rows(-1, frozenset(), frozenset({8, 22, 3})).tolist() == [1]
    assert cells.rows(-1, frozenset(), frozenset({8, 3})).tolist() == [0]
    assert cells.rows(1, frozenset(), frozenset({8, 22, 26})).tolist() == [1]
    with pytest.raises(InputError, match="no training crystal has the allowed elements alone"):
        cells.rows(-1, frozenset(), frozenset({22, 26}))
    marked = KnownCrystals.of(crystals, np.array([0, 1, -1]), np.array([True, False, True]))
    assert marked.rows(-1, frozenset()).tolist() == [0, 2]
    assert marked.rows(-1, frozenset({8, 22})).tolist() == [2]


def test_the_smaller_the_step_the_nearer(generator):
    base = textbook()["fluorite"]
    origin = generator.locate([base])
    near, far = (generator.latent_distance(generator.latent_around(base, 4, scale=s), origin[0]) for s in (0.01, 1.0))
    assert near.mean() < 0.5 * far.mean()
    assert generator.latent_distance(origin, origin[0])[0] == 0


def test_crystals_beyond_the_model_are_refused_in_one_sentence(generator):
    sites = np.stack(np.meshgrid(*[np.arange(3) / 3] * 3), -1).reshape(-1, 3)[:21]
    many = Structure(Lattice.cubic(9.0), ["Ti"] * 21, sites + 0.01 * np.random.default_rng(0).random((21, 3)))
    with pytest.raises(InputError, match="has 21 atoms, and it takes up to 20 in a primitive cell"):
        generator.prepare(many)
    box = Structure(Lattice.orthorhombic(11, 12, 13), ["O", "Ti"], [[0, 0, 0], [0.5] * 3])
    with pytest.raises(InputError, match="has a volume of 1716 cubic angstrom, and it takes up to about 1000"):
        generator.prepare(box)
    long = Structure(Lattice.orthorhombic(3, 3, 40), ["O", "Ti"], [[0, 0, 0], [0.5, 0, 0]])
    with pytest.raises(InputError, match=r"is 40\.0 angstrom long, and it takes cells up to"):
        generator.prepare(long)
    with pytest.raises(InputError, match="has Au, which the model grids was not trained on"):
        generator.prepare(Structure(Lattice.cubic(4.0), ["Au"], [[0, 0, 0]]))


def test_latents_of_another_kind_are_refused(generator):
    good = generator.locate([textbook()["rutile"]])
    with pytest.raises(InputError, match="expected latent grids, got ndarray"):
        generator.decode([np.zeros(4)])
    with pytest.raises(InputError, match="expected a finite latent grid"):
        generator.decode([replace(good[0], grid=good[0].grid[:, :1])])
    with pytest.raises(InputError, match="expected a finite latent grid"):
        generator.decode([replace(good[0], grid=np.full_like(good[0].grid, np.nan))])
    with pytest.raises(InputError, match="no latent vectors of one length"):
        _ = generator.vectors


@pytest.mark.parametrize("base", [None, "rutile"])
def test_a_page_shows_the_grids_of_draws_and_no_map_of_latent_space(folder, generator, base):
    structure = None if base is None else textbook()[base]
    settings = {"model": str(folder), "model_sha256": generator.digest, "seed": 3, "scale": 0.4, "condition": None}
    settings |= {"base_structure": None if structure is None else structure.as_dict(), "within": ["O", "Ti"]}
    crystals = [Structure(Lattice.cubic(3 + n), ["O"], [[0, 0, 0]]) for n in range(4)]
    candidates = [Candidate(n, each) for n, each in enumerate(crystals)]
    found = decode_again(settings, candidates, 2)
    assert found.latent is None
    draws = LatentDraws(generator, structure, 2, scale=0.4, seed=3, within=["O", "Ti"]).draws(0, 2)
    expected = [each.density for each in generator.decode_maps(draws.latent)]
    assert [found.sprites[n]["shape"] for n in (0, 1)] == [list(each.shape) for each in expected]
    assert [found.sprites[n]["range"] for n in (0, 1)] == [
        pytest.approx([each.min(), each.max()], abs=1e-4) for each in expected
    ]


def test_each_base_meets_noise_of_its_own(generator, monkeypatch):
    noises, between = [], generator.space.flow.between

    def recorded(latent, noise, time):
        noises.append(noise)
        return between(latent, noise, time)

    monkeypatch.setattr(generator.space.flow, "between", recorded)
    fluorite = textbook()["fluorite"]
    other = fluorite.copy()
    other.replace_species({"Ca": "Zn"})
    for crystal in (fluorite, other, fluorite):
        generator.latent_around(crystal, 2, seed=4)
    assert torch.equal(noises[0], noises[2])
    assert (noises[0] - noises[1]).abs().min() > 0


def test_paths_join_cells_alike_and_no_others(generator):
    rutile, quartz = textbook()["rutile"], textbook()["quartz"]
    stretched = rutile.copy()
    stretched.scale_lattice(rutile.volume * 1.05)
    first, last = generator.locate([rutile, stretched])
    path = generator.space.path(first, last, 5)
    assert [each.atoms for each in path] == [6] * 5
    np.testing.assert_allclose(path[2].grid, (first.grid + last.grid) / 2, atol=1e-6)
    with pytest.raises(InputError, match="different shapes"):
        generator.interpolate(rutile, quartz)


def test_maps_show_what_atoms_are_read_from(generator):
    latents = generator.latent_sample(2, seed=3)
    for latent, shown in zip(latents, generator.decode_maps(latents), strict=True):
        shape = tuple(4 * n for n in latent.grid.shape[:3])
        assert shown.density.shape == shown.species.shape == shape
        assert shown.heights.shape == (shape[2],)
        assert ((shown.species > 0) == (shown.density >= 0.15)).all()
