"""From a crystal to Table S1 as one jobflow flow: draw, screen, relax with CHGNet, compare with the predictions.

    python examples/06_validate_candidates.py

Results go to ``runs/examples/validation``, where a second run finds what was calculated already. The same flow can be
handed to FireWorks or jobflow-remote (docs/validation.md).
"""

from __future__ import annotations

from pathlib import Path

from pymatgen.core import Structure

from icsg3d.report.validation import table_s1, write_tables
from icsg3d.workflows.flows import ScreeningFlowMaker
from icsg3d.workflows.jobs import GenerateMaker
from icsg3d.workflows.local import run_flow
from icsg3d.workflows.stores import folder_store

HERE = Path(__file__).parent
OUT = Path("runs/examples/validation")


def main() -> None:
    """Validate the two best of 24 draws around strontium titanate."""
    maker = ScreeningFlowMaker.from_engine("chgnet", draws=24, top=2, generate_maker=GenerateMaker(scale=0.5))
    flow = maker.make(Structure.from_file(HERE / "SrTiO3.cif"))
    run = run_flow(flow, folder_store(OUT / "store"), OUT / "jobs", started=lambda job: print(f"- {job}"))
    if run.output is None:
        raise SystemExit("; ".join(run.failures.values()))
    print(table_s1(run.output).to_string(index=False))
    print(
        f"{len(run.output.screened_out)} candidates were left out; tables: {', '.join(write_tables(run.output, OUT))}"
    )


if __name__ == "__main__":
    main()
