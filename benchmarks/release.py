"""Whether a release is whole and small enough for the registry: ``python -m benchmarks.release dist``."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path

LIMIT = 100_000_000
"""Bytes; the Python Package Index takes no larger file unless asked."""

WHEEL_HOLDS = (
    "icsg3d/py.typed",
    "icsg3d/pretrained/*/weights.safetensors",
    "icsg3d/pretrained/*/README.md",
    "icsg3d/report/page/3Dmol-min.js",
    "icsg3d/report/page/3Dmol-LICENSE.txt",
    "icsg3d/report/page/report.html.j2",
    "icsg3d/report/page/report.css",
    "icsg3d/report/page/report.js",
    "icsg3d/data/paper/table_s1.csv",
    "*.dist-info/licenses/LICENSE",
)
SDIST_HOLDS = ("*/icsg3d/__init__.py", "*/tests/conftest.py", "*/docs/index.md", "*/CITATION.cff", "*/constraints.txt")


def faults(path: Path) -> list[str]:
    """Return what is wrong with a wheel or source distribution, in sentences."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            names, wanted = archive.namelist(), WHEEL_HOLDS
    else:
        with tarfile.open(path) as archive:
            names, wanted = archive.getnames(), SDIST_HOLDS
    found = [f"{path.name} lacks {pattern}." for pattern in wanted if not any(fnmatch(name, pattern) for name in names)]
    found += [
        f"{path.name} holds {name}." for name in names if "__pycache__" in name or name.endswith((".pyc", ".ckpt"))
    ]
    if path.stat().st_size > LIMIT:
        found.append(f"{path.name} has {path.stat().st_size / 1e6:.1f} MB; the registry takes {LIMIT / 1e6:.0f} MB.")
    return found


def main(folder: str) -> None:
    """Check every distribution in a folder; leave with 1 if one is not right."""
    paths = sorted([*Path(folder).glob("*.whl"), *Path(folder).glob("*.tar.gz")])
    wrong = [fault for path in paths for fault in faults(path)]
    if {path.suffix for path in paths} != {".whl", ".gz"}:
        wrong.append(f"{folder} does not hold a wheel and a source distribution.")
    for path in paths:
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB of at most {LIMIT / 1e6:.0f} MB")
    for fault in wrong:
        print(fault, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
