from __future__ import annotations

import zipfile

import pytest

from benchmarks import release


def write_wheel(folder, names):
    path = folder / "icsg3d-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return path


def test_a_whole_wheel_has_no_fault(tmp_path):
    assert release.faults(write_wheel(tmp_path, [name.replace("*", "some") for name in release.WHEEL_HOLDS])) == []


def test_what_is_missing_or_too_much_is_named(tmp_path, monkeypatch):
    names = [name.replace("*", "some") for name in release.WHEEL_HOLDS[1:]] + ["icsg3d/__pycache__/a.pyc"]
    path = write_wheel(tmp_path, names)
    monkeypatch.setattr(release, "LIMIT", 10)
    first, second, third = release.faults(path)
    assert first.endswith("lacks icsg3d/py.typed.")
    assert "__pycache__" in second
    assert "the registry takes" in third
    with pytest.raises(SystemExit) as end:
        release.main(str(tmp_path))
    assert end.value.code == 1
