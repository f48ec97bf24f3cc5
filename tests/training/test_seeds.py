"""Seeds of everything random in a training."""

from __future__ import annotations

import itertools

import pytest
import torch

from icsg3d.errors import InputError
from icsg3d.training.data import check_seed, seed_of
from icsg3d.training.options import TrainingOptions
from icsg3d.training.properties import PropertyOptions, TrainingPhase

PHASES = (TrainingPhase("everything", 1, 1e-3),)
OPTIONS = [lambda seed: TrainingOptions(seed=seed), lambda seed: PropertyOptions(PHASES, seed=seed)]


def test_every_number_counts():
    numbers = [0, 1, 7, 20_260_115, 202_601_151_234, 2**53 - 1]
    seeds = {seed_of(*chosen) for chosen in itertools.product(numbers[1:], repeat=2)}
    assert len(seeds) == 25
    draws = {torch.rand(1, generator=torch.Generator().manual_seed(seed)).item() for seed in seeds}
    assert len(draws) == 25
    assert seed_of(1, 2) == seed_of(1, 2) != seed_of(2, 1)
    torch.manual_seed(seed_of(*numbers))


@pytest.mark.parametrize("options", OPTIONS, ids=["generator", "property"])
def test_a_seed_that_is_none_is_refused_before_anything_is_trained(options):
    assert options(20_260_115).seed == 20_260_115
    assert options(2**53 - 1).seed == 2**53 - 1
    for seed in (-1, 2**53, 2**80):
        with pytest.raises(InputError, match=rf"whole number of 0 or more.*got {seed}; give another"):
            options(seed)


def test_zero_is_a_seed():
    check_seed(0)
