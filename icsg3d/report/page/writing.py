"""Writing the page: everything that it shows, in one file that opens without a network."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import icsg3d
from icsg3d.data.paper import paper_table
from icsg3d.errors import InputError
from icsg3d.evaluation.relaxation import mean_of_known
from icsg3d.files import write_atomically
from icsg3d.report.folders import REPORT_FILE
from icsg3d.report.page.charts import charts_of
from icsg3d.report.page.columns import columns_of
from icsg3d.report.page.contents import read_contents
from icsg3d.report.page.grids import Decodings, decode_again
from icsg3d.report.page.measures import in_words
from icsg3d.report.page.rows import bonds_of, cif_of, elements_of, geometry, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from icsg3d.generation.candidates import Candidate
    from icsg3d.generation.generator import CrystalGenerator
    from icsg3d.report.page.contents import Contents, Evaluation, Validated

_BONDS_OF = 100
"""Validated candidates whose bonds are listed; finding neighbours takes a tenth of a second each."""

_COVERED = ("candidates.png", "validation.png", "report.png")
"""Pictures whose content the page shows itself."""

_LARGEST_PICTURE = 4_000_000
"""Bytes of a picture that goes into the page."""


def write_report(
    folder: Path, *, slices: int = 12, device: str = "cpu", generator: CrystalGenerator | None = None
) -> Path:
    """Write ``report.html`` into a folder of results: what is there, and what is missing.

    Args:
        folder: Of ``icsg3d generate``, ``screen``, ``validate`` or ``evaluate``, also half-finished or older.
        slices: Candidates, of the first different ones, whose decoded density and species map are shown, 32 at most;
            with 0 the generator is not loaded, and there is no map of latent space either.
        device: Where the generator runs.
        generator: The one that made the draws; by default the shipped one that the folder names.

    Returns:
        Path of the page.

    Raises:
        InputError: if there is no such folder, nothing of icsg3d is in it, or ``slices`` is out of range.
    """
    if not 0 <= slices <= 32:
        msg = f"grids of 0 to 32 candidates can be shown, got {slices}"
        raise InputError(msg)
    contents = read_contents(folder)
    missing = list(contents.missing)
    decodings = _decodings(contents, slices, device, generator, missing)
    path = folder / REPORT_FILE
    write_atomically(path, page(contents, decodings, missing).encode())
    return path


def _decodings(
    contents: Contents, slices: int, device: str, generator: CrystalGenerator | None, missing: list[str]
) -> Decodings:
    nothing = Decodings({}, None)
    if not (slices and contents.candidates and contents.settings.get("holds") == "candidates"):
        return nothing
    try:
        return decode_again(contents.settings, contents.candidates, slices, device, generator)
    except InputError as error:
        missing.append(f"Density, species maps and the map of latent space are missing: {error}.")
        return nothing


def page(contents: Contents, decodings: Decodings, missing: Sequence[str]) -> str:
    """Return the page as HTML."""
    rows = [values_of(each, contents.validated.get(each.index)) for each in contents.candidates]
    missing = [*missing, *_absent(rows)]
    scripts = [_file("3Dmol-min.js"), _file("report.js")] if rows else []
    return (
        _environment()
        .from_string(_file("report.html.j2"))
        .render(
            title=_title(contents),
            version=icsg3d.__version__,
            summary=_summary(contents, rows),
            missing=missing,
            charts=charts_of(contents, rows, decodings.latent),
            evaluations=[_evaluation(each) for each in contents.evaluations],
            pictures=_pictures(contents),
            settings=_settings(contents.settings),
            tables=[path.name for path in contents.tables],
            engine=contents.engine,
            count=len(rows),
            style=Markup(_file("report.css")),  # noqa: S704 (our own file)
            data=script_json(_data(contents, rows, decodings)) if rows else None,
            scripts=[Markup(each) for each in scripts],  # noqa: S704 (our own, and the viewer's)
            policy=" ".join(f"'sha256-{_digest(each)}'" for each in scripts) or "'none'",
        )
    )


def _environment() -> Environment:
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _file(name: str) -> str:
    return (files("icsg3d.report.page") / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def script_json(content: Any) -> Markup:
    """Return JSON that nothing in it can end: no ``<``, ``>`` or ``&`` stands in it as such."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))  # ASCII, so no line separators either
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 (escaped above)


def _title(contents: Contents) -> str:
    base = contents.settings.get("base")
    if contents.validated:
        return "Validation of candidates"
    if contents.candidates:
        return f"Candidates around {base}" if base else "Candidates"
    if contents.evaluations:
        return "Evaluation: " + ", ".join(each.name.replace("_", " ") for each in contents.evaluations)
    return f"Results in {contents.folder.resolve().name}"


def _data(contents: Contents, rows: Sequence[Mapping[str, Any]], decodings: Decodings) -> dict[str, Any]:
    """Return what the script draws from."""
    left = iter(range(_BONDS_OF))
    entries = [
        _entry(candidate, contents.validated.get(candidate.index), row, with_bonds=next(left, None) is not None)
        if candidate.index in contents.validated
        else _entry(candidate, None, row, with_bonds=False)
        for candidate, row in zip(contents.candidates, rows, strict=True)
    ]
    return {
        "columns": [column.as_dict() for column in columns_of(rows)],
        "rows": entries,
        "elements": elements_of([entry[key] for entry in entries for key in ("g", "relaxed") if key in entry]),
        "sprites": decodings.sprites,
    }


def _entry(
    candidate: Candidate, validated: Validated | None, row: Mapping[str, Any], *, with_bonds: bool
) -> dict[str, Any]:
    entry: dict[str, Any] = {"v": row}
    if candidate.structure is not None:
        entry |= {"g": geometry(candidate.structure), "cif": cif_of(candidate.structure)}
    if validated is not None and validated.relaxed is not None:
        entry |= {"relaxed": geometry(validated.relaxed), "relaxed_cif": cif_of(validated.relaxed)}
        entry["bonds"] = bonds_of(candidate.structure, validated.relaxed) if with_bonds else []
    return entry


def _summary(contents: Contents, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return labels and numbers of the first glance."""
    if not rows:
        return []
    with_crystal = [row for row in rows if row["status"] != "no crystal"]
    counts = {
        "candidates" if contents.validated else "draws": len(rows),
        "crystals": len(with_crystal),
        "different": sum(row["status"] != "repeat" and "repeats" not in row["reason"] for row in with_crystal),
    }
    if any("novelty" in row for row in rows):
        counts["of new compositions"] = sum(row.get("novelty") == "new" for row in with_crystal)
    if any("passed" in each.screening for each in contents.candidates):
        counts["passed the screening"] = sum(each.screening.get("passed") is True for each in contents.candidates)
    tiles = [(label, str(count)) for label, count in counts.items()]
    return tiles + (_validation_tiles(contents, rows) if contents.validated else [])


def _validation_tiles(contents: Contents, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    finished = sum(each.state == "finished" for each in contents.validated.values())
    tiles = [("validated, finished", f"{finished} of {len(contents.validated)}")]
    paper = paper_table("s1")
    for key, label, form in (
        ("delta_e_form", "mean |ΔE formation|", "{:.3f} eV/atom"),
        ("delta_bonds_percent", "mean Δ bonds", "{:.2f} %"),
    ):
        mean = mean_of_known([row.get(key) for row in rows if row["status"] == "validated: finished"])
        published = mean_of_known(paper[key])
        if mean is not None and published is not None:
            tiles.append((label, form.format(mean)))
            tiles.append((f"{label}, paper's Table S1", form.format(published)))
    return tiles


def _absent(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences about columns that one would look for and that no row has."""
    wanted = {
        "energy_above_hull": "energies above the hull",
        "formation_energy_per_atom": "predicted formation energies",
        "novelty": "whether compositions are new",
    }
    lacking = [text for key, text in wanted.items() if rows and not any(row.get(key) is not None for row in rows)]
    return [f"Not known here: {', '.join(lacking)}."] if lacking else []


def _evaluation(evaluation: Evaluation) -> tuple[str, list[tuple[str, str]]]:
    return evaluation.name.replace("_", " "), in_words(evaluation.figures)


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how the run was made; crystals and engines are too long for that."""
    shown = {name: value for name, value in settings.items() if not isinstance(value, dict) and name != "holds"}
    return [(name.replace("_", " "), "-" if value in (None, "") else str(value)) for name, value in shown.items()]


def _pictures(contents: Contents) -> list[tuple[str, str]]:
    """Return names and data URLs of the folder's pictures."""
    found = []
    for path in contents.pictures:
        if (contents.candidates and path.name in _COVERED) or path.stat().st_size > _LARGEST_PICTURE:
            continue
        encoded = base64.b64encode(path.read_bytes()).decode()
        found.append((path.stem.replace("_", " "), f"data:image/png;base64,{encoded}"))
    return found
