"""Share of crystals rebuilt: ``python -m benchmarks.rebuild --data crystals.json.gz --rebuilt rebuilt.json.gz``.

Compares what ``icsg3d reconstruct`` wrote with the crystals it was given, under pymatgen's StructureMatcher (ltol 0.3,
stol 0.5, angle_tol 10, species must agree), over all crystals, failed decodings counted as misses.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from rich.progress import track

from icsg3d.data import load_structures, read_frame
from icsg3d.models.storage import write_atomically


def main() -> None:
    """Print the shares and, with ``--out``, write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="what was given to icsg3d reconstruct")
    parser.add_argument("--rebuilt", type=Path, required=True, help="what it wrote")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    table = load_structures(arguments.data)
    rebuilt = read_frame(arguments.rebuilt).set_index("material_id")["structure"]
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    counts, species, matches, distances, lengths = [], [], [], [], []
    for name, true in track(list(zip(table.ids, table.structures, strict=True)), "comparing"):
        found = rebuilt[name]
        counts.append(found is not None and len(found) == len(true))
        species.append(found is not None and found.composition == true.composition)
        rms = matcher.get_rms_dist(true, found) if found is not None else None
        matches.append(rms is not None)
        if found is not None and rms is not None:
            distances.append(rms[0])
            lengths.append(np.abs(np.subtract(found.lattice.abc, true.lattice.abc)).mean())
    result = {
        "crystals": len(table),
        "atom_count_right": float(np.mean(counts)),
        "all_species_right": float(np.mean(species)),
        "match_rate": float(np.mean(matches)),
        "rmse": float(np.mean(distances)) if distances else None,
        "length_error": float(np.mean(lengths)) if lengths else None,
    }
    print(json.dumps(result, indent=1))
    if arguments.out:
        write_atomically(arguments.out, json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    main()
