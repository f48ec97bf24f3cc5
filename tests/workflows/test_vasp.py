"""VASP's input files, and what becomes of its results, without VASP: as atomate2 tests its own makers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from atomate2.utils.testing.vasp import monkeypatch_vasp
from atomate2.vasp.jobs import base
from emmet.core.tasks import TaskDoc
from pymatgen.core import SETTINGS, Lattice, Structure
from pymatgen.entries.computed_entries import ComputedEntry
from pymatgen.io.vasp import Incar, Kpoints, Poscar, sets

from icsg3d.data.elemental import elemental_ground_states
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.workflows.calculations import calculation_key
from icsg3d.workflows.engines import engine_named
from icsg3d.workflows.formation import force_field_relax
from icsg3d.workflows.local import run_flow
from icsg3d.workflows.oxidation import runs_vasp, with_oxidation_states

TITELS = {"Mg": "PAW_PBE Mg_pv 13Apr2007", "Mn": "PAW_PBE Mn_pv 02Aug2007", "O": "PAW_PBE O 08Apr2002"}
SPECS = {"Mg": "Mg_pv", "Mn": "Mn_pv", "O": "O"}
# eV per atom of the elements, eV per formula of the oxides: numbers of this test alone.
ENERGIES = {"Mg": -1.5, "Mn": -9.0, "O2": -4.9, "MgO": -12.0, "MnO2": -24.0}
ATOMS = {"MgO": 2, "MnO2": 3}

CELLS = {
    "LiMnO2": (["Li", "Mn", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0, 0, 0.5]]),
    "BaMnO3": (["Ba", "Mn", "O", "O", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    "MnO2": (["Mn", "O", "O"], [[0, 0, 0], [0.3, 0.3, 0], [0.7, 0.7, 0]]),
    "Mn2O3": (["Mn", "Mn", "O", "O", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    "Mn3O4": (["Mn"] * 3 + ["O"] * 4, [[number / 7, 0.3 * number, 0.5 * number] for number in range(7)]),
    "MnAl": (["Mn", "Al"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "EuO": (["Eu", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
}


def cell(formula: str) -> Structure:
    """Return a cell of a formula; sites are of no matter here."""
    return Structure(Lattice.cubic(4.2), *CELLS[formula])


def reference(folder: Path, structure: Structure, *, static: bool) -> Path:
    """Write the input files that are expected and the result that VASP would have given."""
    (folder / "inputs").mkdir(parents=True)
    (folder / "outputs").mkdir()
    inputs = folder / "inputs"
    incar = {"GGA": "Pe", "ENCUT": 520, "ISPIN": 2, "PREC": "Accurate", "NSW": 0 if static else 99}
    for where in (inputs, folder / "outputs"):
        Incar(incar).write_file(where / "INCAR")
    Poscar(structure).write_file(inputs / "POSCAR")
    symbols = list(dict.fromkeys(site.specie.symbol for site in Poscar(structure).structure))
    (inputs / "POTCAR.spec").write_text("\n".join(SPECS[symbol] for symbol in symbols))
    formula = structure.composition.reduced_formula
    per_formula = ENERGIES[formula]
    units = len(structure) / ATOMS.get(formula, 1)
    (folder / "outputs" / "result.json").write_text(json.dumps({"energy": per_formula * units}))
    Poscar(structure).write_file(folder / "outputs" / "POSCAR")
    Poscar(structure).write_file(folder / "outputs" / "CONTCAR")
    for name in ("OUTCAR", "vasprun.xml"):  # copied on to the next calculation, never read here
        (folder / "outputs" / name).write_text("")
    return folder


def task_document(path, **_):
    """Read the result that the reference holds, in the place of vasprun.xml."""
    structure = Structure.from_file(Path(path) / "POSCAR")
    energy = json.loads((Path(path) / "result.json").read_text())["energy"]
    spec = [{"titel": TITELS[e.symbol], "hash": None} for e in structure.composition.elements]
    parameters = {"run_type": "GGA", "is_hubbard": False, "hubbards": {}, "potcar_spec": spec}
    return TaskDoc.from_structure(
        meta_structure=structure,
        structure=structure,
        dir_name=str(path),
        output={"structure": structure, "energy": energy, "energy_per_atom": energy / len(structure)},
        entry=ComputedEntry(structure.composition, energy, parameters=parameters),
        state="successful",
        calcs_reversed=[],
    )


@pytest.fixture
def vasp(monkeypatch, tmp_path):
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path))
    monkeypatch.setattr(base, "get_vasp_task_document", task_document)
    monkeypatch.setattr(base, "should_stop_children", lambda *_, **__: False)
    # The static set reads gap and moments from the vasprun.xml of the relaxation, which VASP alone can write.
    monkeypatch.setattr(sets.VaspInputSet, "_set_previous", lambda *_, **__: None)
    generator = monkeypatch_vasp(monkeypatch, tmp_path)
    yield next(generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        next(generator, None)


def test_inputs_are_pbe_and_energies_corrected(vasp, tmp_path, store):
    energies = engine_named("vasp")
    energies.relax_elements = False
    crystal = prototype_structure("MgO").get_primitive_structure()
    crystals = {"MgO": crystal} | {symbol: elemental_ground_states()[symbol] for symbol in ("Mg", "O")}
    references, checks = {}, {"incar_settings": ["GGA", "ENCUT", "ISPIN", "PREC", "NSW"]}
    for formula, structure in crystals.items():
        name = structure.composition.reduced_formula
        for step in ("relax", "static") if formula == "MgO" else ("static",):
            folder = reference(tmp_path / f"{formula}-{step}", structure, static=step == "static")
            references[f"MP GGA {step} {name}"] = folder.name
    vasp(references, dict.fromkeys(references, checks | {"check_inputs": ["incar", "poscar", "potcar"]}))
    run = run_flow(energies.make(crystal), store, tmp_path / "jobs")
    assert not run.failures
    found = run.output
    # Per formula -12 eV of the compound and -0.687 eV of correction, against -1.5 and -4.9 eV, uncorrected.
    assert found.formation_energy_per_atom == pytest.approx((-12.0 - 0.687 + 1.5 + 4.9) / 2)
    assert found.correction_per_atom == pytest.approx(-0.687 / 2)
    assert found.engine.correction == "MP2020"
    assert found.state == "finished"


def test_kpoints_are_written(vasp, tmp_path, monkeypatch):
    maker = engine_named("vasp").relax_maker
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = maker.input_set_generator.get_input_set(prototype_structure("MgO"))
    assert isinstance(inputs["KPOINTS"], Kpoints)
    assert inputs["INCAR"]["GGA"] == "Pe"
    assert inputs["POTCAR.spec"].split() == ["Mg_pv", "O"]


@pytest.mark.parametrize(
    ("formula", "element", "moment", "plain"),
    [
        ("LiMnO2", "Mn", 4, 5),
        ("Mn2O3", "Mn", 4, 5),
        ("BaMnO3", "Mn", 3, 5),
        ("MnO2", "Mn", 3, 5),
        ("EuO", "Eu", 7, 10),
        ("Mn3O4", "Mn", 5, 5),  # mixed valence: nothing tells which site is which
        ("MnAl", "Mn", 5, 5),  # a metal
    ],
)
def test_moments_are_those_of_the_oxidation_states(vasp, formula, element, moment, plain):
    structure = cell(formula)
    decorated = with_oxidation_states(structure)
    assert structure == cell(formula)  # left as it is
    found = []
    for each in (structure, decorated):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(engine_named("vasp").relax_maker.input_set_generator.get_input_set(each))
    for inputs, expected in zip(found, (plain, moment), strict=True):
        symbols = [site.specie.symbol for site in inputs["POSCAR"].structure]
        moments = {m for symbol, m in zip(symbols, inputs["INCAR"]["MAGMOM"], strict=True) if symbol == element}
        assert moments == {expected}
    ours, theirs = ({k: v for k, v in each["INCAR"].items() if k != "MAGMOM"} for each in found)
    assert ours == theirs
    assert str(found[0]["KPOINTS"]) == str(found[1]["KPOINTS"])
    assert found[0]["POTCAR.spec"] == found[1]["POTCAR.spec"]
    assert decorated.composition.reduced_formula == structure.composition.reduced_formula
    assert (decorated is structure) == (formula in {"Mn3O4", "MnAl"})


def test_states_that_are_given_are_kept():
    given = cell("MnO2")
    given.add_oxidation_state_by_element({"Mn": 2, "O": -1})
    assert with_oxidation_states(given) is given
    mixed = cell("MnO2")
    mixed[0] = {"Mn": 0.5, "Fe": 0.5}
    assert with_oxidation_states(mixed) is mixed


def test_vasp_alone_gets_oxidation_states(vasp):
    from atomate2.vasp.flows.core import DoubleRelaxMaker

    from icsg3d.workflows.gpaw import GpawRelaxMaker

    assert runs_vasp(engine_named("vasp").relax_maker)
    assert runs_vasp(DoubleRelaxMaker())
    assert runs_vasp(engine_named("vasp"))  # a maker among its arguments
    assert not runs_vasp(GpawRelaxMaker())
    assert not runs_vasp(force_field_relax("CHGNet"))


def test_documents_have_no_charges(vasp, tmp_path, store, monkeypatch):
    energies = engine_named("vasp")
    energies.relax_elements, energies.correction = False, None
    crystal = cell("MnO2")
    given = {"MnO2": crystal} | {symbol: elemental_ground_states()[symbol] for symbol in ("Mn", "O")}
    references = {}
    for formula, structure in given.items():
        for step in ("relax", "static") if formula == "MnO2" else ("static",):
            folder = reference(tmp_path / f"{formula}-{step}", structure, static=step == "static")
            references[f"MP GGA {step} {structure.composition.reduced_formula}"] = folder.name
    vasp(references, {name: {"check_inputs": ["poscar", "potcar"]} for name in references})
    inputs, write = [], base.write_vasp_input_set

    def written(structure, *arguments, **options):
        inputs.append(" ".join(dict.fromkeys(site.species_string for site in structure)))
        write(structure, *arguments, **options)

    monkeypatch.setattr(base, "write_vasp_input_set", written)
    run = run_flow(energies.make(crystal), store, tmp_path / "jobs")
    assert not run.failures
    assert sorted(inputs) == ["Mn", "Mn4+ O2-", "Mn4+ O2-", "O"]
    found = run.output
    assert found.state == "finished"
    assert (found.formula_pretty, found.structure.formula) == ("MnO2", "Mn1 O2")
    assert found.formation_energy_per_atom == pytest.approx((-24.0 + 9.0 + 2 * 4.9) / 3)
    documents = list(store.query({}, load=True))
    names = {document["name"] for document in documents}
    assert {"MP GGA relax MnO2", "MP GGA static MnO2"} <= names
    for document in documents:  # a site with a charge has its oxidation state in its dictionary
        assert "oxidation_state" not in json.dumps(document["output"], default=str)
    done = next(each for each in documents if each["name"] == "MP GGA relax MnO2")
    key = calculation_key(energies.relax_maker, with_oxidation_states(crystal), energies.packages)
    assert done["metadata"]["icsg3d_calculation"] == key != calculation_key(energies.relax_maker, crystal)
