"""Writes the page of the Python interface from what the rooms say is public, so that it shows that and no more."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[2] / "icsg3d"

ROOMS = (
    "crystals",
    "representation",
    "models",
    "training",
    "properties",
    "generation",
    "hull",
    "screening",
    "data",
    "evaluation",
    "workflows",
    "report",
)

OTHERS = {
    "Figures": (
        "icsg3d",
        "plot.structure",
        "plot.candidates",
        "plot.density_slice",
        "plot.species_slice",
        "plot.hull_distances",
        "plot.parity",
        "plot.periodic_table",
        "plot.latent_map",
        "plot.principal_plane",
        "plot.property_path",
        "plot.atom_counts",
        "crystals.display.CrystalList",
        "report.page.write_report",
    ),
    "Transformations": (
        "icsg3d.transformations",
        "LatentSamplingTransformation",
        "ReconstructionTransformation",
        "LatentInterpolationTransformation",
        "PropertyOptimizationTransformation",
    ),
    "Featurizers": ("icsg3d.featurizers", "LatentFeaturizer", "CrystalGraphFeaturizer", "PropertyFeaturizer"),
    "Calculator": ("icsg3d.calculators", "CrystalGraphCalculator"),
    "Checks for own models": ("icsg3d.testing", "check_predictor", "check_generator"),
    "Runs": (
        "icsg3d.runs",
        "generate.generate",
        "screen.screen",
        "reconstruct.reconstruct",
        "predict.predict",
        "featurize.featurize",
        "validate.validate",
        "submit.submit_design",
        "submit.submit_validation",
        "submit.Submission",
        "collect.collect",
        "compare_polymorphs.compare_polymorphs",
        "evaluate.evaluate_segmentation",
        "evaluate.evaluate_reconstruction",
        "evaluate_generation.evaluate_generation",
        "evaluate.evaluate_condition",
        "evaluate.evaluate_property_search",
        "train_generator.GeneratorTrainingConfig",
        "train_generator.train_generator",
        "train_property.PropertyTrainingConfig",
        "train_property.train_property",
    ),
    "Underneath": (
        "icsg3d",
        "errors.InputError",
        "errors.Interrupted",
        "progress.track",
        "progress.task",
        "progress.listening",
        "refusals.usable",
        "run_folders.run_folder",
        "run_folders.PartialRows",
        "files.write_atomically",
        "files.locked",
    ),
}


_OPENING = """What each room offers to others; everything else is private. Names load on first use, so that
`import icsg3d` takes milliseconds. At the top, for a newcomer: `from icsg3d import ...`
"""


def public_names(room: str) -> list[str]:
    """Return where the public names of a room live, in the order of its stub."""
    package = f"icsg3d.{room}" if room else "icsg3d"
    stub = ast.parse((PACKAGE / room / "__init__.pyi").read_text())
    found = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return [f"{package}.{node.module}.{alias.name}" for node in found for alias in node.names]


def page() -> str:
    """Return the page in Markdown."""
    top = "".join(f"- {{obj}}`{name.rpartition('.')[2]} <{name}>`\n" for name in public_names(""))
    parts = [
        "# Python interface\n",
        _OPENING,
        top,
    ]
    for room in ROOMS:
        summary = str(ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))).split("\n")[0]
        parts += [f"## {room.capitalize()}\n\n`icsg3d.{room}`: {summary}\n", _summary(public_names(room))]
    for title, (module, *names) in OTHERS.items():
        parts += [f"## {title}\n\n`{module}`\n", _summary([f"{module}.{name}" for name in names])]
    return "\n".join(parts)


def _summary(names: list[str]) -> str:
    rows = "".join(f"   {name}\n" for name in names)
    return f"```{{eval-rst}}\n.. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n{rows}```\n"


def setup(app: Any) -> dict[str, bool]:
    """Write the page before Sphinx looks for pages."""
    path = Path(app.srcdir) / "api.md"
    text = page()
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return {"parallel_read_safe": True}
