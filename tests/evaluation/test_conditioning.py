from __future__ import annotations

import math

import numpy as np
import pytest

from icsg3d.errors import InputError
from icsg3d.evaluation.conditioning import BinResult, bin_centres, summarise


def results(*values):
    edges = [-math.inf, 1.0, 2.0, math.inf]
    return [BinResult(edges[k], edges[k + 1], 0.0, 4, [], np.array(v, dtype=float)) for k, v in enumerate(values)]


def test_each_bin_is_asked_by_an_energy_within_it():
    bins = bin_centres([1.0, 2.0, 4.0])
    assert bins == [(-math.inf, 1.0, 0.5), (1.0, 2.0, 1.5), (2.0, 4.0, 3.0), (4.0, math.inf, 5.0)]
    assert all(low < asked < high for low, high, asked in bins)


@pytest.mark.parametrize("edges", [[], [1.0]])
def test_a_model_without_a_condition_is_named(edges):
    with pytest.raises(InputError, match="no condition"):
        bin_centres(edges)


def test_perfect_order_has_rank_correlation_one_and_all_in_their_bins():
    found = summarise(results([0.5], [1.5], [2.5]))
    assert found["rank_correlation"] == pytest.approx(1)
    assert (found["in_bin"], found["near_bin"]) == (1, 1)
    assert found["medians"] == [0.5, 1.5, 2.5]


def test_shares_count_crystals_not_bins():
    # Of six crystals four lie in their bin; 2.5 in bin 1 is two bins away, 0.5 in bin 2 is one away.
    found = summarise(results([0.5, 0.6, 2.5], [1.5, 0.5], [3.0]))
    assert found["in_bin"] == pytest.approx(4 / 6)
    assert found["near_bin"] == pytest.approx(5 / 6)
    assert found["draws"] == 12
    assert found["decoded"] == pytest.approx(0.5)


def test_the_correlation_is_that_of_ranks():
    # Ranks of the bins 1.5, 1.5, 3.5, 3.5 against ranks 1, 3, 2, 4: Pearson's coefficient of these is 2 / sqrt(4 * 5).
    found = summarise(results([0.0, 20.0], [5.0, 1000.0], []))
    assert found["rank_correlation"] == pytest.approx(2 / math.sqrt(20))
    assert found["medians"][2] is None


def test_one_bin_is_not_enough():
    with pytest.raises(InputError, match="fewer than two bins"):
        summarise(results([0.5], [], []))
