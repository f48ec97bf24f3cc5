"""The package as a whole: what its import costs and which names it offers."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import icsg3d
from icsg3d._moved import MOVED

ROOT = Path(__file__).parents[1]

# PEP 440, the public part of a version.
PEP_440 = r"([1-9]\d*!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?"


def test_import_loads_next_to_nothing():
    code = (
        "import json, sys, importlib.metadata; before = set(sys.modules); import icsg3d; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    foreign = set(json.loads(run.stdout)) - set(sys.stdlib_module_names) - {"icsg3d", "lazy_loader"}
    assert not foreign, f"`import icsg3d` also imports {sorted(foreign)}"
    assert run.stderr == ""


def test_version_is_valid():
    assert re.fullmatch(PEP_440, icsg3d.__version__)


def test_version_is_that_of_the_distribution():
    try:
        installed = metadata.version("icsg3d")
    except metadata.PackageNotFoundError:
        pytest.skip("icsg3d is run from a checkout and is not installed")
    assert installed == icsg3d.__version__


PACKAGES = ["icsg3d", *sorted(f"icsg3d.{stub.parent.name}" for stub in (ROOT / "icsg3d").glob("*/__init__.pyi"))]


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_resolve_and_are_listed(package):
    module = importlib.import_module(package)
    assert module.__all__
    for name in set(module.__all__) - {"__version__"}:
        assert getattr(module, name) is not None
    assert set(module.__all__) - {"__version__"} <= set(dir(module))


@pytest.mark.parametrize(("earlier", "present"), sorted(MOVED.items()))
def test_earlier_import_paths_give_the_same_module(earlier, present):
    sys.modules.pop(earlier, None)
    with pytest.warns(DeprecationWarning, match=present):
        old = importlib.import_module(earlier)
    assert old is importlib.import_module(present)
    assert old.__name__ == old.__spec__.name == present


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="CrystalGenarator"):
        _ = icsg3d.CrystalGenarator


def test_package_is_typed():
    assert (Path(icsg3d.__file__).parent / "py.typed").is_file()
