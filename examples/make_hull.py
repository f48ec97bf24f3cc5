"""Make the table of phases that ``icsg3d.hull`` ships from a table of formation energies.

    python examples/make_hull.py ../shared/data/mp_formation_energies.csv.gz icsg3d/hull/materials_project.csv.gz

Of each chemical system's phases those stay that are vertices of its convex hull: nothing else has a say in the energy
of the hull or in a decomposition.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from icsg3d.hull.building import hull_phases
from icsg3d.hull.phases import read_phases, write_phases

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="CSV with formula, formation_energy_per_atom and space_group")
    parser.add_argument("out", type=Path, help="compressed table of the phases on hulls")
    given = parser.parse_args()
    phases = read_phases(given.table)
    kept = sorted(hull_phases(phases), key=lambda phase: phase.formula)
    given.out.write_bytes(write_phases(kept))
    print(f"{len(kept)} of {len(phases)} phases are on a hull; {given.out.stat().st_size:,} bytes")
