"""Configurations of trainings: what is written can be read, and what cannot be meant is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from icsg3d.errors import InputError
from icsg3d.runs.train_generator import GeneratorTrainingConfig
from icsg3d.runs.train_property import PropertyTrainingConfig, Transfer


def test_a_configuration_comes_back_from_its_file(tmp_path):
    given = {"data": [Path("a.json"), Path("b.json")], "start": "cubic", "seed": 3, "latent": None}
    config = GeneratorTrainingConfig.load(None, ["batch-size=32", "guidance=1.5", "learning_rate=1e-4"], given)
    assert (config.batch_size, config.guidance, config.learning_rate, config.latent) == (32, 1.5, 1e-4, None)
    config.write(tmp_path)
    assert GeneratorTrainingConfig.load(tmp_path / "config.yaml") == config
    text = (tmp_path / "config.yaml").read_text()
    for name, field in GeneratorTrainingConfig.model_fields.items():
        assert f"# {field.description}\n{name}:" in text


def test_options_of_the_command_count_before_the_file(tmp_path):
    PropertyTrainingConfig.load(None, ["transfer=paper", "epochs=7"], {"data": ["a"], "target": "band_gap"}).write(
        tmp_path
    )
    config = PropertyTrainingConfig.load(tmp_path / "config.yaml", ["epochs=8"], {"seed": 5, "epochs": None})
    assert (config.epochs, config.seed, config.transfer, config.target) == (8, 5, Transfer.PAPER, "band_gap")


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["batch_sise=3"], "there is no option batch_sise; there are data, validation, start,"),
        (["batch_size=1"], "the option batch_size cannot be 1: input should be greater than or equal to 2"),
        (["grid=large"], "the option grid cannot be 'large': input should be a valid integer"),
        (["grid"], "--set takes name=value, such as batch_size=32; got 'grid'"),
        (["notes=[1,"], "none that YAML knows"),
    ],
)
def test_bad_options_are_named(assignments, expected):
    with pytest.raises(InputError) as error:
        GeneratorTrainingConfig.load(None, assignments, {"data": ["a"]})
    assert expected in str(error.value)


def test_what_must_be_given_is_asked_for():
    with pytest.raises(InputError, match="the option data is missing; give it"):
        GeneratorTrainingConfig.load(None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- 1\n- 2\n", "is no list of names and values"),
        ("data: [a\n", "cannot be read"),
        ("3: 4\n", "is no list of names and values"),
        ("data: !!python/object/apply:os.system ['touch hit']\n", "cannot be read"),
        ("data: [a]\nsteps: 3\n", "there is no option steps (in "),
    ],
)
def test_files_that_are_no_configuration(tmp_path, monkeypatch, text, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        GeneratorTrainingConfig.load(tmp_path / "c.yaml")
    assert expected in str(error.value)
    assert not (tmp_path / "hit").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml cannot be read"):
        GeneratorTrainingConfig.load(tmp_path / "none.yaml")
