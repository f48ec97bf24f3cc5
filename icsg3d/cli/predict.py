"""``icsg3d predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icsg3d.cli.console import DeviceOption, check_device, progress_bar, report_skipped, say


def predict(
    data: Annotated[list[Path], typer.Option(help="Crystals: dataframe, crystal file or folder; repeatable.")],
    out: Annotated[Path, typer.Option(help="Table to write, .csv.")],
    property_: Annotated[
        list[str] | None,
        typer.Option(
            "--property", metavar="NAME|PATH", help="Shipped property or folder of a trained model; repeatable, or all."
        ),
    ] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Predict properties of crystals, each with its standard uncertainty.

    **Examples**

        icsg3d predict --data SrTiO3.cif --out srtio3.csv

        icsg3d predict --data crystals.json.gz --property band_gap --property bulk_modulus --out predicted.csv
    """
    from icsg3d.data import load_structures
    from icsg3d.errors import InputError
    from icsg3d.files import write_atomically
    from icsg3d.properties.predictor import PropertyPredictor, predict_table, shipped_properties

    if out.suffix != ".csv":
        raise InputError(f"the table is written as CSV; name a file that ends in .csv instead of {out.name}")
    check_device(device)
    if property_ and "all" in property_:
        property_ = None
    names = property_ or shipped_properties()
    if not names:
        raise InputError("this installation has no property models; name the folder of one with --property")
    predictors = [PropertyPredictor.from_pretrained(name, device) for name in names]
    names = [predictor.property.name for predictor in predictors]
    if len(set(names)) < len(names):
        raise InputError(f"a property is asked for twice ({', '.join(names)}); name each once")
    table = load_structures(data)
    report_skipped(table.skipped)
    with progress_bar() as bar:
        task = bar.add_task("crystals", total=len(table) * (1 + len(predictors)))
        frame, skipped = predict_table(table.structures, predictors, table.ids, lambda n: bar.advance(task, n))
    report_skipped(skipped)
    if frame.empty:
        raise InputError(f"none of the {len(table)} crystals in {data[0]} could be predicted; see the reasons above")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, frame.to_csv(index=False, float_format="%.6g").encode())
    guessed = int((frame["unseen_elements"] != "").sum())
    if guessed:
        say(f"[yellow]{guessed} crystals hold elements that a model never saw: see the column unseen_elements[/]")
    units = ", ".join(predictor.property.label for predictor in predictors)
    say(f"{units} of {len(frame)} crystals are in [bold]{out}[/]")
