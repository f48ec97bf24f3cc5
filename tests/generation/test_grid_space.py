"""The latent space of crystals of any cell, on an untrained model (contracts)."""

from __future__ import annotations

import dataclasses
import gc
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.cells import reduced_cell
from icsg3d.crystals.structures import from_arrays, primitive_cell
from icsg3d.errors import InputError
from icsg3d.generation import grid_inversion, grid_space
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.grid_space import GridSpace
from icsg3d.generation.sources import LatentDraws
from icsg3d.models.checkpoints import CONFIG_FILE, write_model
from icsg3d.models.decoding import Decoded
from icsg3d.models.grid_decoding import Orbits, among
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


def watch(monkeypatch, flow):
    """Return what is carried from now on: points, bins and guidance."""
    seen = []

    def carry(points, conditions, *, guidance, **_):
        seen.append((points, conditions.bins.tolist(), guidance))
        return points

    monkeypatch.setattr(flow, "carry", carry)
    return seen


def test_free_draws_stay_in_the_bin_of_their_crystal(generator, monkeypatch):
    seen, known = watch(monkeypatch, generator.space.flow), generator.space.networks.known
    assert len(set(known.bins.tolist())) > 2
    monkeypatch.setattr(grid_space, "_ATTEMPTS", 1)
    draws = generator.latent_sample(8, seed=2)
    lattices = np.stack([known.crystal(row).lattice for row in range(len(known))])
    rows = [np.abs(lattices - latent.lattice).max((1, 2)).argmin() for latent in draws]
    expected = {int(known.bins[row]) for row in rows}
    assert {value for _, bins, _ in seen for value in bins} == expected
    assert {guidance for *_, guidance in seen} == {1.0}
    seen.clear()
    generator.latent_sample(2, condition=-3.5)
    assert all(bins == [0] and guidance == generator.space.config.guidance for _, bins, guidance in seen)


def read_as(monkeypatch, numbers_of, moved=0.0):
    """Let latent grids be read as atoms at the sites of their base; return the grids in the order of reading.

    Args:
        monkeypatch: Of the test.
        numbers_of: Atomic numbers for the count of the reading, from 0 on, and the latent grid.
        moved: By how much the first atom is off, a share of the first cell vector.
    """
    read = []

    def read_grid(network, latent, *_):
        sites = latent.orbits.frac_coords.copy()
        sites[0, 0] += moved
        numbers = np.asarray(numbers_of(len(read), latent))
        read.append(latent)
        return Sites(numbers, sites, np.eye(94)[numbers - 1])

    monkeypatch.setattr("icsg3d.generation.grid_space.read_grid", read_grid)
    return read


def begun_at(space, latent):
    """Return the row of the known crystal at which a draw began."""
    known = space.networks.known
    return int(np.argmin([np.abs(known.crystal(row).lattice - latent.lattice).max() for row in range(len(known))]))


def boron(latent):
    """Return the atomic numbers of a crystal of boron alone with the sites of a draw."""
    return np.full(len(latent.orbits.frac_coords), 5)


def test_draws_that_come_back_as_their_crystal_are_drawn_again(generator, monkeypatch):
    space, known = generator.space, generator.space.networks.known
    for unchanged, made in ((0, 1), (1, 2), (5, 6), (99, 6)):

        def numbers(count, latent, unchanged=unchanged):
            return known.crystal(begun_at(space, latent)).numbers if count < unchanged else boron(latent)

        read = read_as(monkeypatch, numbers)
        drawn = generator.latent_sample(1, seed=7)[0]
        assert len(read) == made
        assert drawn is read[-1]
        if made > 2:  # each from a crystal taken at random
            assert len({begun_at(space, each) for each in read}) > 1
    both = generator.latent_sample(2, seed=7)  # whatever the others do, a draw is its own
    np.testing.assert_array_equal(both[0].grid, drawn.grid)


def test_free_draws_that_leave_their_sites_are_drawn_again(generator, monkeypatch):
    read = read_as(monkeypatch, lambda _, latent: boron(latent), moved=0.5)
    generator.latent_sample(1, seed=7)
    assert len(read) == 6


def test_neighbours_of_another_anonymous_formula_are_drawn_again(generator, monkeypatch):
    rutile = textbook()["rutile"]
    placed = generator.place([rutile])[0]
    base = placed.arrays
    like = {22: 50, 8: 16}
    cases = (
        ([like[int(z)] for z in base.numbers], 0.0, 1),  # SnS2
        (base.numbers, 0.0, 6),  # itself
        ([8] * len(base), 0.0, 6),  # O3
        (base.numbers, 0.5, 6),  # an atom has gone
    )
    monkeypatch.setattr(GridSpace, "_orbits", lambda self, origin: Orbits.of(base, 0.1))
    for numbers, moved, made in cases:
        read = read_as(monkeypatch, lambda *_, numbers=numbers: numbers, moved)
        generator.latent_around(placed, 1)
        assert len(read) == made
        for one, other in itertools.pairwise(read):
            assert np.abs(one.grid - other.grid).max() > 0.1  # noise of its own
    read = read_as(monkeypatch, lambda *_: base.numbers)
    generator.latent_around(placed, 1, scale=0.3)  # so near the crystal itself is to be expected
    assert len(read) == 1


def test_a_draw_is_read_once(generator, monkeypatch):
    counted = []
    whole = grid_space.read_grid
    monkeypatch.setattr(grid_space, "read_grid", lambda *given: counted.append(given[1]) or whole(*given))
    latents = generator.latent_sample(3, seed=0)
    drawn = len(counted)
    decoded = generator.decode(latents)
    assert len(counted) == drawn
    monkeypatch.undo()
    again = generator.decode([replace(each) for each in latents])
    assert [each.certainty for each in again] == [each.certainty for each in decoded]
    del latents, decoded, again
    counted.clear()
    gc.collect()
    assert not generator.space._read


def test_the_noise_of_free_draws_has_the_temperature_of_the_model(generator, monkeypatch):
    space, found = generator.space, []
    seen = watch(monkeypatch, space.flow)
    for temperature in (0.0, 0.5, 1.0):
        monkeypatch.setattr(space, "config", replace(space.config, temperature=temperature))
        generator.latent_sample(1, seed=4)
        found.append(seen.pop()[0])
    torch.testing.assert_close(found[1] - found[0], (found[2] - found[0]) / 2)
    assert (found[2] - found[0]).std() == pytest.approx(space.config.free_scale * space.config.renoising, rel=0.3)


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


def test_draws_around_a_crystal_become_elements_that_are_allowed(generator):
    source = LatentDraws(generator, textbook()["fluorite"], 4, within={"Ti", "O"})
    assert source.within == ["O", "Ti"]
    assert all(latent.allowed == {8, 22} for latent in source.draws(0, 4).latent)
    found = list(source.candidates(range(4)))
    assert all(each.structure is None or set(each.structure.symbol_set) <= {"O", "Ti"} for each in found)
    assert all(1 <= each.attempts <= 6 and 0 < each.certainty <= 1 for each in found if each.structure is not None)
    free = LatentDraws(generator, textbook()["fluorite"], 4)
    assert all(latent.allowed == frozenset() for latent in free.draws(0, 4).latent)
    assert found[0].row()["attempts"] == found[0].attempts


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
    box = Structure(Lattice.orthorhombic(13, 14, 15), ["O", "Ti"], [[0, 0, 0], [0.5] * 3])
    with pytest.raises(InputError, match="has a volume of 2730 cubic angstrom, and it takes up to about 2000"):
        generator.prepare(box)
    long = Structure(Lattice.orthorhombic(3, 3, 60), ["O", "Ti"], [[0, 0, 0], [0.5, 0, 0]])
    with pytest.raises(InputError, match=r"is 60\.0 angstrom long, and it takes cells up to"):
        generator.prepare(long)
    with pytest.raises(
        InputError, match="has Au, which the model grids was not trained on; exchange it or name another"
    ):
        generator.prepare(Structure(Lattice.cubic(4.0), ["Au"], [[0, 0, 0]]))
    # the middle of a box of 11 angstrom is 11 * sqrt(3) / 2 from an atom at its corner
    molecule = Structure(Lattice.cubic(11.0), ["O", "Ti"], [[0, 0, 0], [0.01, 0.12, 0]])
    with pytest.raises(InputError, match=r"TiO is a molecule in a box or a slab, as a place of its cell is [89]\.\d"):
        generator.prepare(molecule)
    slab = Structure(Lattice.orthorhombic(4.2, 4.2, 20.0), ["O", "Ti"], [[0, 0, 0], [0.5, 0.5, 0]])
    with pytest.raises(InputError, match=r"a slab, as a place of its cell is 10\.\d angstrom from every atom; give"):
        generator.prepare(slab)
    generator.prepare(Structure(Lattice.orthorhombic(4.2, 4.2, 10.0), ["O", "Ti"], [[0, 0, 0], [0.5, 0.5, 0]]))


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
def test_a_page_shows_the_grids_of_draws_and_a_map_of_latent_space(folder, generator, base):
    structure = None if base is None else textbook()[base]
    settings = {"model": str(folder), "model_sha256": generator.digest, "seed": 3, "scale": 0.4, "condition": None}
    settings |= {"base_structure": None if structure is None else structure.as_dict(), "within": ["O", "Ti"]}
    crystals = [Structure(Lattice.cubic(3 + n), ["O"], [[0, 0, 0]]) for n in range(4)]
    candidates = [Candidate(n, each) for n, each in enumerate(crystals)]
    found = decode_again(settings, candidates, 2)
    grids = [each.grid.reshape(-1, each.grid.shape[-1]) for each in generator.encode(crystals)]
    expected_points = np.array([[*grid.mean(0), *grid.std(0)] for grid in grids])
    assert found.latent.candidates == pytest.approx(expected_points, abs=1e-5)
    assert found.latent.reference.shape == (len(generator.space.networks.known), expected_points.shape[1])
    assert (found.latent.base is None) == (base is None)
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
    met = []
    for crystal in (fluorite, other, fluorite):
        noises.clear()
        generator.latent_around(crystal, 2, seed=4)
        met.append(torch.stack(noises))
    assert torch.equal(met[0], met[2])
    assert (met[0][0] - met[1][0]).abs().min() > 0


def test_paths_join_cells_alike_and_no_others(generator):
    rutile, quartz = textbook()["rutile"], textbook()["quartz"]
    stretched = rutile.copy()
    stretched.scale_lattice(rutile.volume * 1.05)
    first, last = generator.locate([rutile, stretched])
    path = generator.space.path(first, last, 5)
    assert [each.atoms for each in path] == [6] * 5
    np.testing.assert_allclose(path[0].grid, first.grid, atol=1e-5)
    np.testing.assert_allclose(path[-1].grid, last.grid, atol=1e-5)
    np.testing.assert_allclose(path[2].lattice, (first.lattice + last.lattice) / 2)
    for each in generator.space.path(first, first, 3):
        np.testing.assert_allclose(each.grid, first.grid, atol=1e-5)
    with pytest.raises(InputError, match="different shapes"):
        generator.interpolate(rutile, quartz)


def test_a_path_bends_with_the_noise_of_the_flow(generator, monkeypatch):
    # A flow that stands still: noise is the latent grid itself, in spreads of the training crystals.
    monkeypatch.setattr(generator.space.flow, "forward", lambda x, time, conditions: torch.zeros_like(x))
    flow = generator.space.flow
    mean, scale = flow.mean.numpy(), flow.scale.numpy()
    rutile = generator.encode([textbook()["rutile"]])[0]
    random = np.random.default_rng(5)
    first, last = (
        replace(rutile, grid=(mean + scale * random.standard_normal(rutile.grid.shape)).astype(np.float32))
        for _ in range(2)
    )
    ends = [((each.grid - mean) / scale).ravel() for each in (first, last)]
    middle = generator.space.coordinates(generator.space.path(first, last, 3))[1]
    lengths = [np.linalg.norm(end) for end in ends]
    assert np.linalg.norm(middle) == pytest.approx(sum(lengths) / 2, rel=1e-4)
    cosines = [middle @ end / np.linalg.norm(middle) / length for end, length in zip(ends, lengths, strict=True)]
    assert cosines[0] == pytest.approx(cosines[1], abs=1e-4)


def test_coordinates_lead_back_to_the_grid(generator):
    grids = generator.encode([textbook()["rutile"], textbook()["rutile"]])
    rows = generator.space.coordinates(grids)
    assert rows.shape == (2, grids[0].grid.size)
    back = generator.space.at(rows[1] + 1.0, grids[0])
    np.testing.assert_allclose(back.grid - grids[0].grid, generator.space.flow.scale.expand(back.grid.shape), rtol=1e-4)
    assert back.lattice is grids[0].lattice


def test_each_step_of_a_search_has_draws_of_its_own(generator):
    space, base = generator.space, generator.placed(textbook()["rutile"])
    around = [space.around(base.latent, base.arrays, 2, 0.5, 3, first=2 * step) for step in (0, 1, 1)]
    for one, other in zip(around[1], around[2], strict=True):
        np.testing.assert_array_equal(one.grid, other.grid)
    numbered = space.around(base.latent, base.arrays, 4, 0.5, 3)
    for drawn, expected in zip(around[0] + around[1], numbered, strict=True):
        np.testing.assert_array_equal(drawn.grid, expected.grid)


def test_maps_show_what_atoms_are_read_from(generator):
    latents = generator.latent_sample(2, seed=3)
    for latent, shown in zip(latents, generator.decode_maps(latents), strict=True):
        shape = tuple(4 * n for n in latent.grid.shape[:3])
        assert shown.density.shape == shown.species.shape == shape
        assert shown.heights.shape == (shape[2],)
        assert ((shown.species > 0) == (shown.density >= 0.15)).all()
