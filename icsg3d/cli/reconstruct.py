"""``icsg3d reconstruct``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icsg3d.cli.console import (
    DeviceOption,
    ModelOption,
    ResumeOption,
    SymmetryOption,
    check_device,
    fail,
    progress_bar,
    report_skipped,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.data import CrystalTable
    from icsg3d.generation.generator import CrystalGenerator

_CHUNK = 32

_EXAMPLES = """
**Examples**

    icsg3d reconstruct --data crystals.json.gz --out rebuilt.json.gz

    icsg3d reconstruct --data folder_of_cifs --out rebuilt.json.gz --model runs/my-model/model
"""


def reconstruct(
    data: Annotated[Path, typer.Option(help="Crystals: a matminer dataframe, a crystal file, or a folder.")],
    out: Annotated[Path, typer.Option(help="Dataframe to write, .json or .json.gz.")],
    model: ModelOption = "cubic",
    device: DeviceOption = "cpu",
    symmetry: SymmetryOption = 0.25,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first crystals.")] = None,
    resume: ResumeOption = False,
) -> None:
    """Encode crystals and decode them again.

    Writes a dataframe in matminer's format with the columns `material_id`, `structure` (null where the crystal could
    not be encoded or decoded) and `reason`.
    """
    from icsg3d.data import load_structures
    from icsg3d.errors import InputError
    from icsg3d.generation.generator import CrystalGenerator

    if not out.name.endswith((".json", ".json.gz")):
        raise InputError(f"--out must end in .json or .json.gz, got {out}")
    check_device(device)
    out.parent.mkdir(parents=True, exist_ok=True)
    generator = CrystalGenerator.from_pretrained(model, device, symmetry)
    table = load_structures(data).head(limit)
    report_skipped(table.skipped)
    partial = out.with_name(f".{out.name}.partial.jsonl")
    origin = {"data": str(data.resolve()), "data_sha256": _digest(table.sources)}
    key = origin | {"limit": limit, "symmetry": symmetry} | generator.as_dict()
    done = _open_partial(partial, key, resume=resume)
    try:
        with partial.open("a") as file, progress_bar() as progress:
            task = progress.add_task("rebuilding", total=len(table), completed=done)
            for start in range(done, len(table), _CHUNK):
                rows = _rebuild(generator, table, start)
                file.writelines(json.dumps(row) + "\n" for row in rows)
                file.flush()
                progress.advance(task, len(rows))
    except KeyboardInterrupt:
        fail(f"interrupted; what was finished is kept, repeat the command with --resume to go on to {out}", code=130)
    rows = _finish(partial, out, table.skipped)
    good = sum(row[1] is not None for row in rows)
    say(
        f"{good} of {len(rows)} crystals gave a crystal again, in [bold]{out}[/]; icsg3d evaluate reconstruction "
        "--rebuilt says how like them they are"
    )
    report_skipped({row[0]: row[2] for row in rows if row[1] is None and row[0] not in table.skipped})


reconstruct.__doc__ = (reconstruct.__doc__ or "") + _EXAMPLES


def _digest(sources: Sequence[Path]) -> str:
    """Return a SHA-256 of the names and bytes of files; of a data set that is no file, of its name alone."""
    from icsg3d.files import sha256

    parts = [f"{path.name} {sha256(path.read_bytes()) if path.is_file() else ''}\n" for path in sources]
    return sha256("".join(parts).encode())


def _open_partial(partial: Path, key: dict[str, Any], *, resume: bool) -> int:
    """Begin or go on with the file of finished rows; return how many there are."""
    from icsg3d.errors import InputError

    if not (resume and partial.exists()):
        partial.write_text(json.dumps(key) + "\n")
        return 0
    lines = [line for line in partial.read_text().splitlines(keepends=True) if line.endswith("\n")]
    if not lines or json.loads(lines[0]) != key:
        raise InputError(
            f"{partial} was begun with another --data, --limit, --symmetry or --model, or the data have changed since; "
            "repeat the command as it was, or leave out --resume to begin again"
        )
    partial.write_text("".join(lines))
    return len(lines) - 1


def _rebuild(generator: CrystalGenerator, table: CrystalTable, start: int) -> list[list[Any]]:
    from icsg3d.errors import InputError

    rows: dict[int, list[Any]] = {}
    good = []
    for index in range(start, min(start + _CHUNK, len(table))):
        try:
            generator.prepare(table.structures[index])
            good.append(index)
        except InputError as error:
            rows[index] = [table.ids[index], None, str(error)]
    decoded = generator.reconstruct([table.structures[index] for index in good]) if good else []
    for index, crystal in zip(good, decoded, strict=True):
        structure = None if crystal.structure is None else crystal.structure.as_dict()
        rows[index] = [table.ids[index], structure, crystal.reason]
    return [rows[index] for index in sorted(rows)]


def _finish(partial: Path, out: Path, skipped: dict[str, str]) -> list[list[Any]]:
    import pandas as pd

    from icsg3d.data import write_frame

    rows = [json.loads(line) for line in partial.read_text().splitlines()[1:]]
    rows += [[name, None, reason] for name, reason in skipped.items()]
    write_frame(pd.DataFrame(rows, columns=["material_id", "structure", "reason"]), out)
    partial.unlink()
    return rows
