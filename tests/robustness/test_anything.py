"""Whatever numbers, texts and bytes there may be: an answer, or one sentence."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from icsg3d.arguments import real_number, whole_number
from icsg3d.crystals.bounds import LOOSE_DISTANCE_RATIO
from icsg3d.crystals.structures import as_structure, to_arrays
from icsg3d.data import load_structures
from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.run_folders import PartialRows
from icsg3d.screening.screen import usable

_SPEC = importlib.util.spec_from_file_location("icsg3d_fuzz", Path(__file__).with_name("fuzz.py"))
fuzz = importlib.util.module_from_spec(_SPEC)
sys.modules["icsg3d_fuzz"] = fuzz
_SPEC.loader.exec_module(fuzz)

bounded = settings(
    max_examples=150, deadline=20_000, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)

LENGTHS = st.one_of(st.floats(2, 8), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1e-3, 1e6]))
PLACES = st.one_of(st.floats(-1, 2), st.floats(allow_nan=True, allow_infinity=True))
ELEMENTS = st.sampled_from(["H", "Li", "O", "Na", "Cl", "Ti", "Sr", "Cs", "Pu"])


@st.composite
def structures(draw):
    """Cells and places near those of crystals, and any other numbers."""
    lengths, places, most = draw(st.sampled_from([(st.floats(3, 8), st.floats(0, 1), 2), (LENGTHS, PLACES, 5)]))
    matrix = [[draw(lengths) if row == column else draw(st.floats(-1, 1)) for column in range(3)] for row in range(3)]
    atoms = draw(st.lists(st.tuples(ELEMENTS, st.tuples(places, places, places)), min_size=1, max_size=most))
    return Structure(Lattice(matrix), [each for each, _ in atoms], [place for _, place in atoms])


@pytest.fixture(scope="module")
def predictor():
    return PropertyPredictor.from_pretrained("formation_energy_per_atom")


def refused(structure, distance_ratio):
    try:
        to_arrays(structure, distance_ratio)
    except InputError:
        return True
    return False


def sentence(error):
    assert str(error)
    assert str(error).isprintable()


@bounded
@given(structure=structures())
def test_a_crystal_is_predicted_or_refused(predictor, structure):
    try:
        arrays = to_arrays(structure)
    except InputError as error:
        sentence(error)
        with pytest.raises(InputError):
            predictor.predict(structure)
        # A candidate is taken with atoms somewhat closer, so that screening can say what is wrong with it.
        assert (usable(Candidate(0, structure)).structure is None) == refused(structure, LOOSE_DISTANCE_RATIO)
        return
    assert not fuzz.forbidden(arrays)
    try:
        found = predictor.predict(structure)
    except InputError as error:  # as of an atom that is far from all others
        sentence(error)
        return
    assert math.isfinite(found.values[0])
    assert found.stds[0] > 0


def test_good_crystals_are_among_those_that_are_drawn():
    """The property would hold of an empty set, too."""
    taken = []

    @settings(max_examples=150, derandomize=True, database=None, deadline=None)
    @given(structure=structures())
    def count(structure):
        try:
            to_arrays(structure)
        except InputError:
            taken.append(False)
        else:
            taken.append(True)

    count()
    assert 10 < sum(taken) < len(taken) - 10


ENDINGS = ("cif", "json", "csv", "csv.gz", "npz", "db", "xyz", "vasp")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def damaged(draw):
    """A dataframe of one crystal in which one value was replaced by any other."""
    crystal = Structure(Lattice.cubic(4.2), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]).as_dict()
    content = {"columns": ["material_id", "structure"], "index": [0], "data": [["a", crystal]]}
    at = content
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = draw(st.sampled_from(list(keys)))
        if not isinstance(at[key], dict | list) or not at[key] or draw(st.integers(0, 4)) == 0:
            at[key] = draw(JSON)
            return content
        at = at[key]


@pytest.mark.slow
@bounded
@given(content=st.one_of(JSON, damaged()))
def test_any_json_is_read_or_refused(tmp_path, content):
    path = tmp_path / "any.json"
    path.write_text(json.dumps(content))
    try:
        table = load_structures(path)
    except InputError as error:
        sentence(error)
    else:
        assert len(table) + len(table.skipped) >= 1


@bounded
@given(text=st.text(max_size=200), start=st.sampled_from(["", "data_x\n_cell_length_a 4\n", "{", '{"sites": ']))
def test_any_text_is_read_or_refused(text, start):
    try:
        as_structure(f"{start}{text}\n\n.")
    except InputError as error:
        sentence(error)


@bounded
@given(data=st.binary(max_size=400), ending=st.sampled_from(ENDINGS))
def test_any_bytes_are_read_or_refused(tmp_path, data, ending):
    path = tmp_path / f"any.{ending}"
    path.write_bytes(data)
    try:
        load_structures(path)
    except InputError as error:
        sentence(error)


@bounded
@given(noise=st.lists(st.binary(max_size=60), max_size=6), rows=st.lists(st.integers(), max_size=6), seed=st.randoms())
def test_whole_rows_survive_any_noise_among_them(tmp_path, noise, rows, seed):
    path = tmp_path / "rows.jsonl"
    path.unlink(missing_ok=True)
    kept = PartialRows(path, "run")
    kept.begin(resume=False)
    for place, row in enumerate(rows):
        kept.add(place, row)
    lines = path.read_bytes().splitlines(keepends=True) if rows else []
    mixed = [*lines, *(each.replace(b"\n", b" ") + b"\n" for each in noise)]
    seed.shuffle(mixed)
    path.write_bytes(b"".join(mixed))
    again = PartialRows(path, "run")
    again.begin(resume=True)
    assert again.rows == dict(enumerate(rows))


ANYTHING = st.one_of(JSON, st.binary(), st.complex_numbers(), st.just(np.array([1, 2])), st.fractions(), st.decimals())


@bounded
@given(value=ANYTHING)
def test_numbers_are_taken_or_refused(value):
    for check, kind in ((whole_number, int), (real_number, float)):
        try:
            assert type(check(value, "n")) is kind
        except InputError as error:
            sentence(error)
