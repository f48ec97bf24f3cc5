"""What a table of crystals holds, and what a model would make of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from icsg3d.crystals.matching import Duplicates
from icsg3d.crystals.structures import to_arrays
from icsg3d.progress import track
from icsg3d.refusals import usable

if TYPE_CHECKING:
    from collections.abc import Callable

    from icsg3d.data.sources import CrystalTable

_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


@dataclass(frozen=True)
class Description:
    """Figures of a table of crystals.

    Attributes:
        crystals: Number of crystals.
        formulas: Number of different reduced formulas.
        duplicates: Names of crystals that repeat an earlier one, with its name.
        elements: Number of crystals that hold each element, by symbol, the most frequent first.
        anonymous: Number of crystals of each anonymous formula, the most frequent first.
        ranges: Minimum, 5 %, median, 95 % and maximum of lengths, angles, atoms and columns of numbers, by name.
        missing: Rows without a value in each column of numbers that lacks some.
        refused: Why crystals would not be taken by a model, by name.
        skipped: Why entries of the source are no crystals, by name.
    """

    crystals: int
    formulas: int
    duplicates: dict[str, str]
    elements: dict[str, int]
    anonymous: dict[str, int]
    ranges: dict[str, tuple[float, ...]]
    missing: dict[str, int]
    refused: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def describe(table: CrystalTable, accept: Callable[[Any], Any] = to_arrays) -> Description:
    """Describe a table of crystals.

    Args:
        table: The crystals.
        accept: Raises :class:`~icsg3d.errors.InputError` for a crystal that the model does not take; by default only
            what no model takes is refused.
    """
    duplicates, seen = {}, Duplicates()
    for row, structure in enumerate(track(table.structures, "looking for repeats")):
        first = seen.first_of(row, structure)
        if first is not None:
            duplicates[table.ids[row]] = table.ids[first]
    refused = usable(track(table.structures, "trying crystals"), accept).refused
    compositions = [structure.composition for structure in table.structures]
    cells = pd.DataFrame(
        [structure.lattice.parameters for structure in table.structures],
        columns=["a (Å)", "b (Å)", "c (Å)", "alpha (°)", "beta (°)", "gamma (°)"],
    ).assign(atoms=[len(structure) for structure in table.structures])
    numbers = table.frame.select_dtypes("number")
    ranges = {str(name): _range(column) for frame in (cells, numbers) for name, column in frame.items()}
    return Description(
        crystals=len(table),
        formulas=len({each.reduced_formula for each in compositions}),
        duplicates=duplicates,
        elements=_counts(element.symbol for each in compositions for element in each.elements),
        anonymous=_counts(each.anonymized_formula for each in compositions),
        ranges={name: found for name, found in ranges.items() if found},
        missing={str(name): int(column.isna().sum()) for name, column in numbers.items() if column.isna().any()},
        refused={table.ids[row]: reason for row, reason in refused.items()},
        skipped=dict(table.skipped),
    )


def _counts(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _range(column: pd.Series) -> tuple[float, ...]:
    known = column.dropna()
    return tuple(float(value) for value in known.quantile(list(_QUANTILES))) if len(known) else ()
