"""VASP's input files, and what becomes of its results, without VASP: as atomate2 tests its own makers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from atomate2.utils.testing.vasp import monkeypatch_vasp
from atomate2.vasp.jobs import base
from emmet.core.tasks import TaskDoc
from pymatgen.core import SETTINGS, Structure
from pymatgen.entries.computed_entries import ComputedEntry
from pymatgen.io.vasp import Incar, Kpoints, Poscar, sets

from icsg3d.data.elemental import elemental_ground_states
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.workflows.engines import engine_named
from icsg3d.workflows.local import run_flow

TITELS = {"Mg": "PAW_PBE Mg_pv 13Apr2007", "O": "PAW_PBE O 08Apr2002"}
SPECS = {"Mg": "Mg_pv", "O": "O"}
# eV per atom of magnesium and of oxygen, eV per formula of MgO: numbers of this test alone.
ENERGIES = {"Mg": -1.5, "O2": -4.9, "MgO": -12.0}


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
    units = len(structure) if formula != "MgO" else len(structure) / 2
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
