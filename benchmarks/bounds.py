"""Count the crystals of public tables that are out of the bounds of :mod:`icsg3d.crystals.bounds`, and say why.

python -m benchmarks.bounds --data DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from icsg3d.crystals.bounds import check_bounds
from icsg3d.crystals.structures import to_arrays
from icsg3d.data import load_structures
from icsg3d.data.compact_arrays import read_compact
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


def refused(path: Path) -> tuple[int, dict[str, str]]:
    """Return the number of crystals of a table, and why those that are out of bounds are, by their names."""
    checks: dict[str, Callable[[], object]]
    if path.suffix == ".npz":
        data = read_compact(path)
        checks = {data.ids[i]: lambda i=i: check_bounds(data.crystal(i), data.formulas[i]) for i in range(len(data))}
    else:
        table = load_structures(path)
        checks = {name: lambda s=s: to_arrays(s) for name, s in zip(table.ids, table.structures, strict=True)}
    reasons = {}
    for name, check in checks.items():
        try:
            check()
        except InputError as error:
            reasons[name] = str(error)
    return len(checks), reasons


def main() -> None:
    """Count the crystals of every table of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of .npz and .json.gz tables")
    arguments = parser.parse_args()
    shown = Table("table", "crystals", "refused", title="python -m benchmarks.bounds")
    total, reasons = 0, {}
    for path in sorted((*arguments.data.glob("*.npz"), *arguments.data.glob("*.json.gz"))):
        count, found = refused(path)
        shown.add_row(path.name, str(count), str(len(found)))
        total, reasons = total + count, reasons | found
    shown.add_row("all", str(total), str(len(reasons)))
    Console(width=160).print(shown)
    for name, reason in reasons.items():
        print(f"{name}: {reason}")


if __name__ == "__main__":
    main()
