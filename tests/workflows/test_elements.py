"""Shipped energies of the elements: those of the engine as it is, and of no other."""

from __future__ import annotations

import pytest

from icsg3d.data.elemental import elemental_ground_states
from icsg3d.workflows.elements import shipped_energies
from icsg3d.workflows.engines import engine_named
from icsg3d.workflows.local import run_flow
from icsg3d.workflows.stores import folder_store

pytest.importorskip("chgnet")


def test_energies_are_keyed_by_version_and_settings():
    document = engine_named("chgnet").document()
    assert len(shipped_energies(document)) >= 80
    newer = document.model_copy(update={"versions": document.versions | {"chgnet": "9.9"}})
    assert shipped_energies(newer) == {}
    looser = document.model_copy(update={"settings": document.settings | {"relax_elements": False}})
    assert shipped_energies(looser) == {}
    assert shipped_energies(document.model_copy(update={"name": "gpaw"})) == {}
    around = document.model_copy(update={"versions": document.versions | {"torch": "9.9"}})
    assert shipped_energies(around) == shipped_energies(document)


@pytest.mark.parametrize("symbol", ["Al", "Cl"])
def test_they_are_what_the_engine_computes(symbol, tmp_path):
    engine = engine_named("chgnet")
    outputs = []
    for shipped in (True, False):
        flow = engine.element_flows([symbol], shipped=shipped)[symbol]
        run = run_flow(flow, folder_store(tmp_path / f"store {shipped}"), tmp_path / "jobs")
        assert not run.failures
        outputs.append(run.output)
    known, computed = outputs
    assert (known.task_ids, set(computed.task_ids)) == ({}, {"relax", "static"})
    assert known.energy_per_atom == pytest.approx(computed.energy_per_atom, abs=1e-4)
    assert known.symbol == computed.symbol == symbol


def test_an_element_that_the_user_gave_is_computed():
    engine = engine_named("chgnet")
    engine.elements["Al"] = elemental_ground_states()["Al"] * [1, 1, 2]
    names = [job.name for job in engine.element_flows(["Al"])["Al"].jobs]
    assert any("relax" in name for name in names)
    assert [job.name for job in engine.element_flows(["Cu"])["Cu"].jobs] == ["energy of Cu"]
