"""Makers take what other jobs make, also inside flows that replace themselves or make detours, and any crystals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from jobflow import Flow, OutputReference, Response, job
from monty.json import MontyDecoder, MontyEncoder
from pymatgen.core import IStructure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.workflows.flows import CandidateValidationMaker, ScreeningFlowMaker
from icsg3d.workflows.formation import FormationEnergyMaker
from icsg3d.workflows.jobs import GenerateMaker, ScreenMaker, ValidationSummaryMaker
from icsg3d.workflows.local import run_flow
from icsg3d.workflows.schemas import CandidateDoc, CandidatesDoc
from icsg3d.workflows.taking import candidates_of
from tests.workflows.conftest import cscl
from tests.workflows.emt_makers import FailingMaker, handed_on


@job
def replaced(value):
    """Replace itself by a job that returns the value."""
    return Response(replace=handed_on(value))


@job
def entry_of(structure):
    """Return a document that holds a crystal, as an engine does."""
    return {"structure": structure, "energy": -1.0}


@job
def with_detour(maker, structure):
    """Make a detour through a flow."""
    return Response(output="behind me", detour=maker.make(structure))


@job
def with_replacement(maker, structure):
    """Replace itself by a flow."""
    return Response(replace=maker.make(structure))


def energy_of(flow, store, tmp_path):
    run = run_flow(flow, store, tmp_path / "jobs")
    assert not run.failures
    return run.output


@pytest.fixture
def expected(emt, store, tmp_path):
    """Return the formation energy of CuAu, computed without any reference."""
    found = energy_of(emt.make(cscl("Cu", "Au", 3.05)), store, tmp_path)
    assert found.state == "finished"
    return found.formation_energy_per_atom


SOURCES = {
    "a structure": lambda: (source := handed_on(cscl("Cu", "Au", 3.05)), source.output),
    "a field of a document": lambda: (source := entry_of(cscl("Cu", "Au", 3.05)), source.output["structure"]),
    "a document": lambda: (source := entry_of(cscl("Cu", "Au", 3.05)), source.output),
    "a job that replaces itself": lambda: (source := replaced(cscl("Cu", "Au", 3.05)), source.output),
    "one of a list": lambda: (source := handed_on([cscl("Cu", "Au", 3.05)]), source.output[0]),
    "an entry": lambda: (
        source := handed_on(ComputedStructureEntry(cscl("Cu", "Au", 3.05), -1.0)),
        source.output,
    ),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("as_json", [False, True], ids=["", "as JSON"])
def test_a_formation_energy_of_what_another_job_made(name, as_json, emt, store, tmp_path, expected):
    source, output = SOURCES[name]()
    made = emt.make(output)
    flow = Flow([source, made], output=made.output)
    if as_json:
        flow = json.loads(json.dumps(flow, cls=MontyEncoder), cls=MontyDecoder)
    found = energy_of(flow, store, tmp_path)
    assert found.formation_energy_per_atom == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("around", [with_detour, with_replacement])
def test_makers_inside_detours_and_replacements(around, emt, store, tmp_path, expected):
    source = handed_on(cscl("Cu", "Au", 3.05))
    outer = around(emt, source.output)
    run = run_flow(Flow([source, outer], output=outer.output), store, tmp_path / "jobs")
    assert not run.failures
    energies = [
        doc["output"]["formation_energy_per_atom"]
        for doc in store.query({"output.elements_per_atom": {"$exists": True}})
    ]
    assert energies
    assert energies == pytest.approx([expected] * len(energies), abs=1e-9)
    if around is with_replacement:
        assert run.output.formation_energy_per_atom == pytest.approx(expected, abs=1e-9)


def test_energies_of_elements_may_be_references_too(emt, store, tmp_path, expected):
    elements = emt.element_flows({"Cu", "Au"})
    known = {symbol: flow.output for symbol, flow in elements.items()}
    gathered = handed_on(known)
    made = emt.make(cscl("Cu", "Au", 3.05), element_energies=gathered.output)
    found = energy_of(Flow([*elements.values(), gathered, made], output=made.output), store, tmp_path)
    assert found.formation_energy_per_atom == pytest.approx(expected, abs=1e-9)


def test_a_validation_of_what_another_job_made(emt, store, tmp_path, candidates, expected):
    maker = CandidateValidationMaker(formation_energy_maker=emt)
    source = handed_on(CandidatesDoc(candidates=candidates))
    made = maker.make(source.output.candidates[0])
    found = energy_of(Flow([source, made], output=made.output), store, tmp_path)
    assert found.candidate.index == 0
    assert found.formation_energy_per_atom == pytest.approx(expected, abs=1e-9)
    crystal = handed_on(cscl("Cu", "Au", 3.05))
    bare = maker.make(crystal.output)
    found = energy_of(Flow([crystal, bare], output=bare.output), store, tmp_path)
    assert found.formation_energy_per_atom == pytest.approx(expected, abs=1e-9)
    assert found.predicted_formation_energy_per_atom is None


@pytest.fixture
def flow_maker(emt):
    return ScreeningFlowMaker(
        screen_maker=ScreenMaker(screening={"energy_std": None}, scale_cells=False),
        validation_maker=CandidateValidationMaker(formation_energy_maker=emt),
    )


def formulas(found):
    return {(row.candidate.index, row.candidate.formula_pretty, row.state) for row in found.rows}


@pytest.mark.slow
def test_candidates_are_any_crystals(flow_maker, store, tmp_path):
    path = tmp_path / "AlNi.cif"
    cscl("Ni", "Al", 2.9).to(str(path))
    given = [
        CandidateDoc.from_candidate(Candidate(1, cscl("Cu", "Au", 3.05))),
        AseAtomsAdaptor.get_atoms(cscl("Pd", "Ag", 3.1)),
        str(path),
        ComputedStructureEntry(cscl("Cu", "Pd", 3.0), 0.0),
    ]
    found = energy_of(flow_maker.make(candidates=given), store, tmp_path)
    assert formulas(found) == {
        (1, "CuAu", "finished"),
        (0, "AgPd", "finished"),
        (2, "AlNi", "finished"),
        (3, "CuPd", "finished"),
    }


@pytest.mark.slow
def test_candidates_are_references_alone_in_a_list_or_to_a_list(flow_maker, store, tmp_path):
    crystals = [cscl("Cu", "Au", 3.05), cscl("Ni", "Al", 2.9)]
    expected = {(0, "CuAu", "finished"), (1, "AlNi", "finished")}
    document = CandidatesDoc(candidates=candidates_of(crystals))
    for values, given in (
        ([crystals], lambda whole: whole.output),
        (crystals, lambda first, second: [first.output, second.output]),
        (crystals[1:], lambda second: [crystals[0], second.output]),
        ([document], lambda found: found.output),
        ([document], lambda found: found.output.candidates),
    ):
        sources = [handed_on(value) for value in values]
        made = flow_maker.make(candidates=given(*sources))
        found = energy_of(Flow([*sources, made], output=made.output), store, tmp_path)
        assert formulas(found) == expected


@pytest.mark.slow
def test_a_base_that_another_job_made_is_drawn_around(flow_maker, tiny_model, store, tmp_path):
    flow_maker.generate_maker = GenerateMaker(model=str(tiny_model), scale=0.1)
    flow_maker.draws = 2
    source = handed_on(cscl("Cs", "Cl", 4.1))
    made = flow_maker.make(source.output)
    found = energy_of(Flow([source, made], output=made.output), store, tmp_path)
    assert found.drawn.judged == 2
    drawn = store.query({"name": {"$regex": "^draw and judge"}}, ["output"])
    assert [each["output"]["base"] for each in drawn] == ["CsCl"]


def test_an_engine_that_fails_on_a_referenced_crystal_is_a_failed_row(store, tmp_path):
    maker = FormationEnergyMaker(relax_maker=FailingMaker(), static_maker=None, engine="failing", packages=[])
    source = handed_on(cscl("Ni", "Al", 2.9))
    made = maker.make(source.output)
    run = run_flow(Flow([source, made], output=made.output), store, tmp_path / "jobs")
    assert run.output.state == "failed"
    assert run.output.reason == "the relaxation gave no result"


WRONG = [
    (lambda: FormationEnergyMaker().make(3), "structure is one crystal or the output of a job, got int"),
    (lambda: FormationEnergyMaker().make([cscl("Cu", "Au", 3)]), "structure is one crystal .* got list"),
    (lambda: FormationEnergyMaker().make("nonesuch.cif"), "there is no file nonesuch.cif"),
    (lambda: FormationEnergyMaker().make(), "missing a required argument: 'structure'"),
    (lambda: FormationEnergyMaker().make(cscl("Cu", "Au", 3), None, [1]), "element_energies has documents .* got list"),
    (lambda: CandidateValidationMaker().make(None), "candidate is one crystal .* got NoneType"),
    (
        lambda: ScreeningFlowMaker().make([cscl("Cu", "Au", 3)]),
        "a base is one crystal, got a list; .* 'candidates'",
    ),
    (lambda: ScreeningFlowMaker().make(7), "the base is one crystal .* got int"),
    (lambda: ScreeningFlowMaker().make(candidates=7), "candidates are a list of crystals, got int"),
    (lambda: ScreeningFlowMaker().make(candidates=[cscl("Cu", "Au", 3), 7]), "a candidate is one crystal .* got int"),
    (lambda: ScreeningFlowMaker().make(candidates=[]), "there are no candidates"),
    (lambda: ScreeningFlowMaker().make(cscl("Cu", "Au", 3), [cscl("Cu", "Au", 3)]), "give one of the two"),
    (lambda: GenerateMaker().make(cscl("Cs", "Cl", 4), 2.0), "count is a whole number, got 2.0"),
    (lambda: GenerateMaker().make(cscl("Cs", "Cl", 4), 0), "count must be at least 1, got 0"),
    (lambda: GenerateMaker().make(cscl("Cs", "Cl", 4), 1, -1), "start must be at least 0, got -1"),
    (lambda: GenerateMaker().make([cscl("Cs", "Cl", 4)]), "structure is one crystal .* got list"),
    (lambda: GenerateMaker(seed=None), "seed is a whole number, got None"),
    (lambda: GenerateMaker(condition="low"), "condition is a finite number, got 'low'"),
    (lambda: ScreenMaker().make(cscl("Cs", "Cl", 4)), "parts is a list, got Structure"),
    (lambda: ValidationSummaryMaker().make([], {}, None, []), "shards is a list, got dict"),
    (lambda: ScreeningFlowMaker(draws=2.0), "draws is a whole number, got 2.0"),
    (lambda: ScreeningFlowMaker(top="2"), "top is a whole number, got '2'"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_arguments_of_the_wrong_kind_are_refused_when_make_is_called(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_numbers_of_numpy_are_taken_and_travel_as_json(tiny_model):
    maker = GenerateMaker(model=str(tiny_model), seed=np.int64(3), scale=np.float32(0.5), condition=np.float32(-1))
    made = maker.make(count=np.int8(2), start=np.uint8(1))
    again = json.loads(json.dumps(made, cls=MontyEncoder), cls=MontyDecoder)
    assert again.function_kwargs == made.function_kwargs == {"count": 2, "start": 1}
    assert again.function.__self__ == maker
    assert [each.index for each in made.function.original(maker, None, 2, 1).candidates] == [1, 2]


def test_immutable_structures_are_taken(emt):
    flow = emt.make(IStructure.from_sites(list(cscl("Cu", "Au", 3.05))))
    assert isinstance(flow.output, OutputReference)


def test_candidates_keep_their_numbers_and_the_others_get_free_ones():
    found = candidates_of(
        [cscl("Cu", "Au", 3), Candidate(0, cscl("Ni", "Al", 3)), [cscl("Pd", "Ag", 3)], Candidate(2, None)]
    )
    assert [(each.index, each.formula_pretty) for each in found] == [(1, "CuAu"), (0, "AlNi"), (3, "AgPd"), (2, None)]
    with pytest.raises(InputError, match="two candidates have the same index"):
        candidates_of([Candidate(1, None), Candidate(1, None)])
