"""Tables S1 to S3 of the Supporting Information of Court et al. 2020, as data."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

from icsg3d.errors import InputError

TABLES = ("s1", "s2", "s3")


def paper_table(name: str) -> pd.DataFrame:
    """Return a table of the paper, lengths in angstrom, energies in eV/atom; cells that it leaves open are NaN.

    Args:
        name: ``s1`` (76 validated candidates, two of them without a result), ``s2`` (errors against known polymorphs)
            or ``s3`` (compounds with delocalised electrons).

    Raises:
        InputError: if there is no such table.
    """
    if name not in TABLES:
        msg = f"the paper has no table {name!r}; ask for one of {', '.join(TABLES)}"
        raise InputError(msg)
    with (files("icsg3d.data.paper") / f"table_{name}.csv").open() as file:
        # The only missing value is an empty cell: NaN and NA would be compounds of sodium.
        return pd.read_csv(file, keep_default_na=False, na_values=[""])
