"""``icsg3d evaluate reconstruction``, ``generation`` and ``property-search``: files, figures, and wrong input."""

from __future__ import annotations

import csv
import itertools
import json
import sys
import warnings
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.core import Lattice, Structure

from icsg3d import cli
from icsg3d.data import CrystalTable, write_frame
from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.decoded import DecodedCrystal
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure, prototype_structures
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.properties import PropertyModel, PropertyModelConfig, save_property_model
from icsg3d.models.targets import PROPERTIES
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.properties.volume import VolumePredictor
from icsg3d.run_folders import PartialRows
from icsg3d.runs.reconstruct import rebuild_missing

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("matminer.featurizers.site")
    pytest.importorskip("smact.screening")


@pytest.fixture
def run(command_line):
    """Run a command of ``icsg3d evaluate``; return exit code and what it said, in one line."""
    return lambda *arguments: command_line("evaluate", *arguments)


def written(out, name):
    """Figures and rows of an evaluation, which has left three files, a page and its settings, and nothing else."""
    names = {path.name for path in out.iterdir()} - {"report.html"}  # which a run that fails at its end has not
    assert names == {f"{name}.csv", f"{name}.json", f"{name}.png", "run.json"}
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with (out / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((out / f"{name}.json").read_text(), parse_constant=refuse), rows


def refused(result, out, *texts):
    code, said = result
    assert code == 2, said
    assert "Traceback" not in said
    assert said.count("Error: ") == 1
    for text in texts:
        assert text in said
    assert not out.exists()


prototype = cache(prototype_structure)


def crystal(formula="SrTiO3", scale=1.0):
    structure = prototype(formula).copy()
    structure.scale_lattice(scale**3 * structure.volume)
    return structure


def write(path, crystals, **columns):
    ids = [f"mp-{n}" for n in range(len(crystals))]
    structures = [None if each is None else each.as_dict() for each in crystals]
    write_frame(pd.DataFrame({"material_id": ids, "structure": structures, **columns}), path)
    return path


# Reconstruction


def moved(structure, number, step):
    """The crystal with one atom moved along x, in angstrom."""
    result = structure.copy()
    result.translate_sites([number], [step, 0, 0], frac_coords=False)
    return result


TRUE = [crystal("SrTiO3"), prototype_structures("CsCl")["caesium chloride"], crystal("MgO"), crystal("NaCl")]


@pytest.fixture
def rebuilt(tmp_path):
    """Four crystals, and what was made of them: one exact, one displaced, one of another metal, one not at all."""
    data = write(tmp_path / "true.json.gz", TRUE)
    substitute = TRUE[2].copy()
    substitute.replace_species({"Mg": "Ca"})
    made = [TRUE[0], moved(TRUE[1], 0, 0.1), substitute, None]
    return data, write(tmp_path / "rebuilt.json.gz", made, reason=["", "", "", "no atom was found"])


def test_reconstruction_compares_what_was_rebuilt(run, tmp_path, rebuilt):
    data, made = rebuilt
    out = tmp_path / "deep" / "out"
    code, said = run("reconstruction", "--data", data, "--rebuilt", made, "--out", out, "--jobs", 1)
    assert code == 0, said
    figures, rows = written(out, "reconstruction")
    assert [row["material_id"] for row in rows] == ["mp-0", "mp-1", "mp-2", "mp-3"]
    assert [row["formula"] for row in rows] == ["SrTiO3", "CsCl", "MgO", "NaCl"]
    assert [row["matched"] for row in rows] == ["True", "True", "False", "False"]
    assert rows[3]["length_error"] == rows[3]["rms"] == rows[2]["rms"] == ""
    assert float(rows[1]["rms"]) == pytest.approx(0.05 / (TRUE[1].volume / 2) ** (1 / 3), rel=1e-5)
    expected = {
        "crystals": 4,
        "decoded": 0.75,
        "match_rate": 0.5,
        "match_rate_valid": 0.5,
        "rmse": float(rows[1]["rms"]) / 2,
        "all_species_right": 0.5,
        "atom_count_right": 0.75,
        "length_error": 0.0,
        "angle_error": 0.0,
        "position_error_true": 0.05 / 3,  # one of two atoms in one of three crystals
        "position_error_found": 0.05 / 3,
        "match_rate_1_to_4_atoms": 1 / 3,  # caesium chloride of three crystals of two atoms
        "match_rate_5_to_8_atoms": 1.0,  # the perovskite
        "unread": 0,
    }
    assert figures == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_disordered_crystals_are_misses_and_what_is_unread_is_counted(run, tmp_path):
    disordered = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    data = write(tmp_path / "true.json", [TRUE[0], None, disordered, None, TRUE[2]])
    made = write(tmp_path / "made.json", [TRUE[0], None, None, None, TRUE[2]])
    out = tmp_path / "out"
    code, said = run("reconstruction", "--data", data, "--rebuilt", made, "--out", out, "--jobs", 1)
    assert code == 0, said
    figures, rows = written(out, "reconstruction")
    assert (figures["crystals"], figures["unread"]) == (3, 2)
    assert figures["match_rate"] == figures["decoded"] == pytest.approx(2 / 3)
    assert (figures["match_rate_1_to_4_atoms"], figures["match_rate_5_to_8_atoms"]) == (0.5, 1.0)  # two sites
    assert [row["matched"] for row in rows] == ["True", "False", "True"]


def test_crystals_are_paired_by_name_and_not_by_place(run, tmp_path):
    data = write(tmp_path / "true.json", TRUE)
    frame = pd.DataFrame(
        {"material_id": [f"mp-{n}" for n in (3, 1, 0, 2)], "structure": [TRUE[n].as_dict() for n in (3, 1, 0, 2)]}
    )
    write_frame(frame, tmp_path / "made.json")
    out = tmp_path / "out"
    assert run("reconstruction", "--data", data, "--rebuilt", tmp_path / "made.json", "--out", out, "--jobs", 1)[0] == 0
    assert written(out, "reconstruction")[0]["match_rate"] == 1.0


def test_only_the_first_crystals_are_compared_when_asked(run, tmp_path, rebuilt):
    data, made = rebuilt
    out = tmp_path / "out"
    arguments = ("--data", data, "--rebuilt", made, "--out", out, "--limit", 2, "--jobs", 1)
    assert run("reconstruction", *arguments)[0] == 0
    figures, rows = written(out, "reconstruction")
    assert (figures["crystals"], figures["match_rate"], len(rows)) == (2, 1.0, 2)


def test_what_was_rebuilt_of_other_crystals_is_refused(run, tmp_path, rebuilt):
    fewer = write(tmp_path / "fewer.json", TRUE[:3])
    out = tmp_path / "out"
    result = run("reconstruction", "--data", rebuilt[0], "--rebuilt", fewer, "--out", out)
    refused(result, out, f"{fewer} lacks crystals of {rebuilt[0]}", "icsg3d reconstruct from the same file")


@pytest.mark.slow
def test_crystals_are_rebuilt_here_as_by_the_other_command(run, tmp_path, command_line):
    shifted = crystal("SrTiO3")
    shifted.translate_sites(range(5), [0.13, 0.41, 0.77])
    unknown = crystal("SrTiO3")
    unknown.replace_species({"Sr": "Xe"})
    data = write(tmp_path / "data.json.gz", [shifted, unknown, crystal("NaCl")])
    here, there = tmp_path / "here", tmp_path / "there"
    code, said = run("reconstruction", "--data", data, "--model", "cubic", "--out", here, "--jobs", 1)
    assert code == 0, said
    assert "left out mp-1: TiXeO3 has Xe, which the model cubic was not trained on" in said
    made = tmp_path / "made.json.gz"
    assert command_line("reconstruct", "--data", data, "--model", "cubic", "--out", made)[0] == 0
    assert run("reconstruction", "--data", data, "--rebuilt", made, "--out", there, "--jobs", 1)[0] == 0
    figures, rows = written(here, "reconstruction")
    assert written(there, "reconstruction") == (figures, rows)
    assert [row["matched"] for row in rows] == ["True", "False", "True"]
    assert figures["match_rate"] == figures["decoded"] == pytest.approx(2 / 3)
    # What was given is found where it was given, whatever origin the networks chose.
    assert float(rows[0]["position_error_true"]) < 0.1
    assert (here / "reconstruction.png").read_bytes() == (there / "reconstruction.png").read_bytes()


def test_many_crystals_are_rebuilt_in_batches_each_in_its_place(tmp_path):
    names = ["NaCl", "SrTiO3", "MgO", "KBr"]
    structures = [crystal(name, scale=1 + n / 1000) for n, name in zip(range(70), itertools.cycle(names), strict=False)]
    for number in (0, 33, 69):
        structures[number] = Structure(Lattice.cubic(4), ["Xe"], [[0, 0, 0]])
    sizes = []

    class Perfect:
        """A model that knows no xenon, and fails for potassium."""

        def prepare(self, structure):
            if "Xe" in structure.formula:
                raise InputError("xenon")

        def reconstruct(self, crystals):
            sizes.append(len(crystals))
            return [DecodedCrystal(None if "K" in c.formula else c, "", np.zeros(1)) for c in crystals]

    ids = [f"mp-{number}" for number in range(70)]
    partial = PartialRows(tmp_path / "rows.jsonl", "key")
    rebuild_missing(Perfect(), CrystalTable(ids, structures, pd.DataFrame(index=range(70)), {}, ()), partial)
    assert sizes == [31, 31, 5]
    for number, one in enumerate(structures):
        name, other, reason = partial.rows[number]
        assert (name, reason) == (ids[number], "xenon" if number in {0, 33, 69} else "")
        if number in {0, 33, 69} or number % 4 == 3:
            assert other is None
        else:
            assert Structure.from_dict(other) == one


# Generation

HEAT = "formation_energy_per_atom"


def candidates(path, crystals):
    rows = [Candidate(n, c, "" if c is not None else "the decoded cell is flat") for n, c in enumerate(crystals)]
    path.write_text(json.dumps([row.as_dict() for row in rows]))
    return path


REAL = [crystal("NaCl"), crystal("MgO"), crystal("SrTiO3")]
GENERATED = [
    crystal("NaCl", 1.01),
    crystal("SrTiO3"),
    None,
    crystal("NaCl", 1.02),
    Structure(Lattice.cubic(4), ["Na", "Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.6]]),
    None,
    crystal("KBr"),
    Structure(Lattice.cubic(4), ["K", "Br"], [[0, 0, 0], [0, 0, 0.1]]),
]


def test_generation_judges_given_candidates(run, tmp_path):
    data = write(tmp_path / "real.json", REAL)
    training = write(tmp_path / "training.json", [crystal("SrTiO3", 1.02)])
    samples = candidates(tmp_path / "candidates.json", GENERATED)
    out = tmp_path / "out"
    arguments = ("--data", data, "--samples", samples, "--training", training, "--out", out, "--jobs", 1)
    code, said = run("generation", *arguments)
    assert code == 0, said
    figures, rows = written(out, "generation")
    assert [row["formula"] for row in rows] == ["NaCl", "SrTiO3", "NaCl", "Na2Cl", "KBr", "KBr"]
    assert [row["structure_valid"] for row in rows] == ["True"] * 5 + ["False"]
    assert [row["composition_valid"] for row in rows] == ["True"] * 3 + ["False"] + ["True"] * 2
    assert [row["repeats_earlier"] for row in rows] == ["False", "False", "True", "False", "False", "False"]
    assert [row["repeats_training"] for row in rows] == ["False", "True", "False", "False", "False", "False"]
    expected = {
        "samples": 8,
        "decoded": 6 / 8,
        "structural_validity": 5 / 8,
        "compositional_validity": 5 / 8,
        "unique": 5 / 8,
        "novel": 4 / 8,
        "wdist_num_elements": pytest.approx(1 / 12),  # 3 of a quarter of the valid ones, of a third of the real ones
    }
    assert {name: figures[name] for name in expected} == expected
    valid = [GENERATED[n].density for n in (0, 1, 3, 6)]
    gaps = np.abs(np.sort(valid * 3) - np.sort([s.density for s in REAL] * 4))
    assert figures["wdist_density"] == pytest.approx(gaps.mean())
    energies = [PropertyPredictor.from_pretrained(HEAT).predict(each).values for each in (GENERATED[:2], REAL)]
    assert [float(row[HEAT]) for row in rows[:2]] == pytest.approx(energies[0], rel=1e-4)
    assert [row[HEAT] == "" for row in rows] == [False, False, False, True, False, True]  # the invalid ones
    made = [float(rows[n][HEAT]) for n in (0, 1, 2, 4)]
    gaps = np.abs(np.sort(made * 3) - np.sort(list(energies[1]) * 4))
    for name in ("wdist_energy", "wdist_energy_mean"):
        assert figures[name] == pytest.approx(gaps.mean(), rel=1e-4)
    assert (figures["energy_left_out"], figures["energy_left_out_real"]) == (0, 0)
    assert len(figures["energy_model"]) == 64
    # Magnesium oxide is too far from all in composition.
    assert (figures["cov_recall"], figures["cov_precision"]) == pytest.approx((2 / 3, 3 / 8))


def test_wider_cutoffs_cover_more(run, tmp_path):
    data = write(tmp_path / "real.json", REAL)
    samples = candidates(tmp_path / "candidates.json", GENERATED)
    arguments = ("--data", data, "--samples", samples, "--out", tmp_path / "out", "--cutoffs", "mp20", "--jobs", 1)
    assert run("generation", *arguments)[0] == 0
    figures, _ = written(tmp_path / "out", "generation")
    # Magnesium oxide has the sites of sodium chloride and, by a hair, the composition of strontium titanate.
    assert figures["cov_recall"] == 1.0


def test_without_training_crystals_nobody_knows_what_repeats_them(run, tmp_path):
    data = write(tmp_path / "real.json", REAL)
    samples = candidates(tmp_path / "candidates.json", GENERATED)
    assert run("generation", "--data", data, "--samples", samples, "--out", tmp_path / "out", "--jobs", 1)[0] == 0
    figures, rows = written(tmp_path / "out", "generation")
    assert figures["novel"] is None
    assert [row["repeats_training"] for row in rows] == [""] * 6
    assert [row["repeats_earlier"] for row in rows].count("True") == 1


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cubic", "materials"])
def test_generation_draws_from_a_model(run, tmp_path, model):
    data = write(tmp_path / "real.json", [crystal("SrTiO3"), crystal("NaCl")])
    arguments = ("--data", data, "--model", model, "-n", 5, "--seed", 2, "--jobs", 1)
    code, said = run("generation", *arguments, "--out", tmp_path / "out")
    assert code == 0, said
    figures, rows = written(tmp_path / "out", "generation")
    found = [c.structure for c in CrystalGenerator.from_pretrained(model).sample(5, seed=2) if c.structure is not None]
    if model == "materials":  # its draws have the cells of other crystals
        found = VolumePredictor.from_pretrained().settle(found)
    assert [row["formula"] for row in rows] == [s.composition.reduced_formula for s in found]
    assert [float(row["density"]) for row in rows] == pytest.approx([s.density for s in found], rel=1e-5)
    assert (figures["samples"], figures["decoded"]) == (5, len(found) / 5)
    assert 0 < figures["structural_validity"] <= figures["decoded"]


def test_a_model_that_decodes_nothing_is_judged_all_the_same(run, tmp_path, monkeypatch):
    class Barren:
        """A model whose draws give nothing."""

        space = SimpleNamespace(fixed_cells=False)

        def latent_sample(self, n, seed, first):
            return np.zeros((n, 1))

        def decode(self, latents):
            return [DecodedCrystal(None, "no atom was found", vector) for vector in latents]

        def as_dict(self):
            return {"model": "barren"}

    monkeypatch.setattr(CrystalGenerator, "from_pretrained", lambda model, device: Barren())
    data = write(tmp_path / "real.json", [crystal("NaCl")])
    code, said = run("generation", "--data", data, "-n", 3, "--out", tmp_path / "out", "--jobs", 1)
    assert code == 0, said
    figures, rows = written(tmp_path / "out", "generation")
    assert rows == []
    assert (figures["samples"], figures["decoded"], figures["cov_recall"]) == (3, 0, 0)


def test_samples_may_be_any_file_of_crystals(run, tmp_path):
    data = write(tmp_path / "real.json", [crystal("NaCl")])
    samples = write(tmp_path / "made.json.gz", [crystal("NaCl"), None, None, crystal("NaCl", 1.01)])
    arguments = ("--data", data, "--samples", samples, "--out", tmp_path / "out", "--jobs", 1)
    assert run("generation", *arguments)[0] == 0
    figures, _ = written(tmp_path / "out", "generation")
    assert (figures["samples"], figures["decoded"], figures["unique"]) == (4, 0.5, 0.25)
    assert (figures["cov_recall"], figures["cov_precision"]) == (1.0, 0.5)


# Stability


@pytest.fixture
def chgnet(monkeypatch):
    """Stands for CHGNet: elements at -1 eV/atom, all else at -2; relaxing calls what a test puts in."""

    class Energies:
        """Of whatever crystal."""

        relaxing = staticmethod(lambda: None)

        def static(self, structures):
            return np.array([-1.0 if len(s.composition) == 1 else -2.0 for s in structures])

        def relaxed(self, structure):
            self.relaxing()
            return -2.0

    monkeypatch.setattr("icsg3d.runs.evaluate_generation.ChgnetEnergies", Energies)
    return Energies


@pytest.fixture
def stability(tmp_path):
    """Arguments that ask for the stability of the candidates above."""
    data = write(tmp_path / "real.json", REAL)
    samples = candidates(tmp_path / "candidates.json", GENERATED)
    return ("generation", "--data", data, "--samples", samples, "--jobs", 1, "--stability", 9)


def test_stability_is_added_to_the_figures(run, tmp_path, stability, chgnet):
    phases = write(tmp_path / "phases.json", [crystal("NaCl").add_oxidation_state_by_guess(), crystal("MgO")])
    code, said = run(*stability, "--phases", phases, "--out", tmp_path / "out")
    assert code == 0, said
    figures, _ = written(tmp_path / "out", "generation")
    # Different and valid are sodium chloride, strontium titanate and potassium bromide.
    assert (figures["chgnet_samples"], figures["chgnet_phases"], figures["stable"]) == (3, 1, 1)
    assert "sun" not in figures  # nobody knows what the model was trained on
    assert figures["decoded"] == 6 / 8


def test_what_stability_needs_is_loaded_before_the_work(run, tmp_path, monkeypatch, stability):
    def worked(*_):
        raise AssertionError("crystals were drawn first")

    monkeypatch.setattr("icsg3d.runs.evaluate_generation.fingerprints", worked)
    monkeypatch.setattr("icsg3d.runs.evaluate_generation._drawn", worked)
    out = tmp_path / "out"
    for given in (stability, (*stability[:3], *stability[5:])):  # with and without --samples
        refused(run(*given, "--phases", tmp_path / "none.json", "--out", out), out, "there is no file", "none.json")
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "chgnet.model", None)
            refused(run(*given, "--out", out), out, "stability needs chgnet; install it with")


def test_the_other_figures_are_written_before_stability(run, tmp_path, monkeypatch, stability, chgnet):
    out = tmp_path / "out"

    def interrupted():
        raise InputError("the lights went out")

    monkeypatch.setattr(chgnet, "relaxing", staticmethod(interrupted))
    code, said = run(*stability, "--out", out)
    assert (code, "the lights went out" in said) == (2, True)
    figures, rows = written(out, "generation")
    assert (figures["samples"], len(rows), "stable" in figures) == (8, 6, False)


def test_where_no_crystal_is_valid_there_is_no_stability(run, tmp_path, stability, chgnet):
    candidates(tmp_path / "candidates.json", GENERATED[4:6])
    code, said = run(*stability, "--out", tmp_path / "out")
    assert code == 2
    assert f"no generated crystal is valid, so --stability has none to relax; all else is in {tmp_path / 'out'}" in said
    assert written(tmp_path / "out", "generation")[0]["decoded"] == 0.5


# Property search


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of untrained models: two of one property, one of another."""
    folder = tmp_path_factory.mktemp("models")
    network = CrystalGraphConfig.preset("gated", layers=1, width=8, hidden=8)
    torch.manual_seed(0)
    for name, target in (("searcher", HEAT), ("judge", HEAT), ("gap", "band_gap")):
        settings = PropertyModelConfig(PROPERTIES[target], network, 1, -1.0, 0.5, (8, 11, 17, 22, 38), 0.1, 1.0)
        save_property_model(PropertyModel(settings), folder / name)
    return folder


POOL = [crystal("SrTiO3"), crystal("NaCl"), crystal("MgO")]
VALUES = [-3.0, -2.0, None]


def search(models, data, out, *arguments):
    how = ("--model", "cubic", "--count", 2, "--rounds", 1, "--draws", 6)
    given = ("--data", data, "--searcher", models / "searcher", "--judge", models / "judge", "--out", out)
    return ("property-search", *given, *how, *arguments)


@pytest.mark.slow
def test_property_search_has_its_finds_judged_by_another_model(run, tmp_path, models):
    data = write(tmp_path / "data.json", POOL, **{HEAT: VALUES})
    code, said = run(*search(models, data, tmp_path / "out"))
    assert code == 0, said
    figures, rows = written(tmp_path / "out", "property_search")
    assert list(rows[0]) == ["start", "rank", "formula", "searched", "judged"]
    chosen = np.random.default_rng(0).permutation(3)[:2]
    starts = [POOL[n].composition.reduced_formula for n in chosen]
    finds = {start: [row for row in rows if row["start"] == start] for start in starts}
    assert [row["start"] for row in rows] == [start for start in starts for _ in finds[start]]
    judged = []
    for group in finds.values():
        assert 1 <= len(group) <= 6
        assert [int(row["rank"]) for row in group] == list(range(len(group)))
        misses = [abs(float(row["searched"]) + 3.0) for row in group]
        assert misses == sorted(misses)  # the target is the lowest value of the data
        judged.append([float(row["judged"]) for row in group])
        assert all(abs(float(row["judged"]) - float(row["searched"])) > 1e-4 for row in group)
    assert (figures["starts"], figures["property"]) == (2, HEAT)
    for share in (5, 10, 15):
        limit = -3 + share / 100  # between the two known values, 1 apart
        assert figures[f"sr{share}_limit"] == pytest.approx(limit)
        assert figures[f"sr{share}"] == np.mean([min(values) <= limit for values in judged])
        assert figures[f"sr{share}_first"] == np.mean([values[0] <= limit for values in judged])
    assert figures["searcher"] != figures["judge"]
    assert len(figures["searcher"]) == len(figures["judge"]) == 64


@pytest.mark.slow
def test_the_same_seed_finds_the_same_and_another_seed_something_else(run, tmp_path, models):
    data = write(tmp_path / "data.json", POOL, **{HEAT: VALUES})
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        assert run(*search(models, data, tmp_path / name, "--count", 1, "--seed", seed))[0] == 0
    for suffix in ("csv", "json", "png"):
        name = f"property_search.{suffix}"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    table = "property_search.csv"
    assert (tmp_path / "one" / table).read_bytes() != (tmp_path / "other" / table).read_bytes()


def test_starts_may_come_from_another_file(run, tmp_path, models):
    data = write(tmp_path / "data.json", POOL, **{HEAT: VALUES})
    starts = write(tmp_path / "starts.json", [crystal("BaTiO3")])
    code, said = run(*search(models, data, tmp_path / "out", "--starts", starts, "--count", 9))
    assert code == 0, said
    figures, rows = written(tmp_path / "out", "property_search")
    assert figures["starts"] == 1
    assert {row["start"] for row in rows} == {"BaTiO3"}


# Wrong input


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"--judge": "searcher"}, "the model that searches cannot judge itself; name another --judge"),
        ({"--judge": "gap"}, f"predicts {HEAT}; --judge must too"),
        ({"--data": "plain.json"}, "plain.json needs a column of that name"),
        ({"--data": "unknown.json"}, f"unknown.json has no number in its column {HEAT}"),
        ({"--searcher": "nonesuch"}, "there is no model"),
        ({"--model": "searcher"}, "is not the configuration of an icsg3d generator"),
        ({"--device": "cuda:99"}, "cuda:99"),
        ({"--starts": "none.json"}, "there is no file none.json"),
    ],
)
def test_bad_input_of_property_search_ends_in_one_sentence(run, tmp_path, monkeypatch, models, changes, expected):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data.json", POOL, **{HEAT: VALUES})
    write(tmp_path / "plain.json", POOL, other=[1, 2, 3])
    write(tmp_path / "unknown.json", POOL, **{HEAT: [None, "high", None]})
    named = {
        key: models / value if key in {"--judge", "--searcher", "--model"} else value for key, value in changes.items()
    }
    refused(run(*search(models, "data.json", "out", *itertools.chain(*named.items()))), tmp_path / "out", expected)


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        ("generation", ("--cutoffs", "carbon"), "there are no cutoffs 'carbon'; give one of perovskites, mp20"),
        ("generation", ("--samples", "none.json"), "there is no file none.json"),
        ("generation", ("--samples", "empty.json"), "empty.json holds no crystal"),
        ("generation", ("--model", "nonesuch"), "there is no model 'nonesuch'"),
        ("generation", ("--device", "cuda:99"), "cuda:99"),
        ("reconstruction", ("--rebuilt", "none.json"), "there is no file none.json"),
        ("reconstruction", ("--model", "nonesuch"), "there is no model 'nonesuch'"),
        ("reconstruction", ("--data", "none.json"), "there is no file none.json"),
    ],
)
def test_bad_input_ends_in_one_sentence(run, tmp_path, monkeypatch, command, arguments, expected):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data.json", POOL, x=[1, 2, 3])
    candidates(tmp_path / "empty.json", [None, None])
    given = ("--data", "data.json", "--out", "out", "--jobs", 1, *arguments)
    refused(run(command, *given), tmp_path / "out", expected)


def test_real_crystals_without_fingerprints_are_refused(run, tmp_path):
    disordered = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    data = write(tmp_path / "data.json", [disordered], x=[1])
    samples = candidates(tmp_path / "made.json", [crystal("NaCl")])
    out = tmp_path / "out"
    result = run("generation", "--data", data, "--samples", samples, "--out", out, "--jobs", 1)
    refused(result, out, "none of the real crystals has a fingerprint")


@pytest.mark.parametrize(
    ("command", "change"), [("reconstruction", ("--limit", 0)), ("generation", ("-n", 0)), ("generation", ("--n", -1))]
)
def test_numbers_out_of_range_are_refused(run, tmp_path, command, change):
    data = write(tmp_path / "data.json", POOL, x=[1, 2, 3])
    code, said = run(command, "--data", data, "--out", tmp_path / "out", *change)
    assert code == 2
    assert change[0] in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["reconstruction", "generation", "property-search"])
def test_the_commands_have_help(monkeypatch, capsys, command):
    monkeypatch.setattr(sys, "argv", ["icsg3d", "evaluate", command, "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert "Example" in capsys.readouterr().out
