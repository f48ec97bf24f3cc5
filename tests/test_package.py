"""The package as a whole: what its import costs and which names it offers."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import icsg3d

ROOT = Path(__file__).parents[1]

# PEP 440, the public part of a version.
PEP_440 = r"([1-9]\d*!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?"


def test_import_loads_only_the_standard_library():
    code = (
        "import json, sys; before = set(sys.modules); import icsg3d; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    foreign = set(json.loads(run.stdout)) - set(sys.stdlib_module_names) - {"icsg3d"}
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


@pytest.mark.parametrize("name", sorted(set(icsg3d.__all__) - {"__version__"}))
def test_public_name_resolves(name):
    assert name in icsg3d._LAZY, f"{name} is in icsg3d.__all__ but has no module in icsg3d._LAZY"
    module = icsg3d._LAZY[name]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} does not exist yet")
    value = getattr(icsg3d, name)
    assert value.__name__ == name
    assert value is getattr(importlib.import_module(module), name)


def test_lazy_names_are_public():
    assert set(icsg3d._LAZY) == set(icsg3d.__all__) - {"__version__"}
    assert set(icsg3d.__all__) <= set(dir(icsg3d))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'icsg3d' has no attribute 'CrystalGenarator'"):
        _ = icsg3d.CrystalGenarator


def test_package_is_typed():
    assert (Path(icsg3d.__file__).parent / "py.typed").is_file()
