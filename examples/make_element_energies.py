"""Energies of the elements by CHGNet, as they ship: ``python make_element_energies.py elements.json``."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from jobflow import Flow

from icsg3d.data.elemental import elemental_ground_states
from icsg3d.workflows.elements import key_of
from icsg3d.workflows.engines import engine_named
from icsg3d.workflows.local import run_flow
from icsg3d.workflows.stores import folder_store


def main() -> None:
    """Relax the ground state of each element with CHGNet and write its energy."""
    out = Path(sys.argv[1])
    engine = engine_named("chgnet")
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        flows = engine.element_flows(elemental_ground_states(), shipped=False)
        for symbol, flow in flows.items():
            alone = Flow([flow], output=flow.output)
            run = run_flow(alone, folder_store(Path(scratch) / symbol), Path(scratch) / "jobs")
            if run.output is not None and run.output.energy_per_atom is not None:
                found[symbol] = round(run.output.energy_per_atom, 6)
            print(symbol, found.get(symbol), flush=True)
    out.write_text(
        json.dumps({"engine": key_of(engine.document()), "energies": found}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
