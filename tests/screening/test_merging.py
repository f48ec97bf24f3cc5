"""Whatever the parts and the order in which they are merged, the list is that of one process."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icsg3d.generation.candidates import Candidate
from icsg3d.screening.batches import Batch, LostDraws
from icsg3d.screening.merging import (
    LISTED,
    Contender,
    Unpacked,
    contender,
    contenders,
    from_lines,
    judge_part,
    listed,
    merge_parts,
    to_lines,
)
from icsg3d.screening.shortlist import Shortlist, fill
from tests.screening.salts import Salts, as_rows, judge, salt

DRAWS = 200
BASE = salt("Na", "Cl", "rock salt", 20.0)


def shortlist(source, judge_, keep):
    found = Shortlist(judge_, keep)
    fill(source, found)
    found.finish()
    return found


def selected(part, judge_, keep):
    book = Unpacked(part.contenders)
    found = Shortlist(judge_, keep, book=book)
    found.enter(book)
    found.finish()
    return found.kept


@pytest.fixture(scope="module")
def whole():
    """What one process makes of all draws, by what is asked."""
    made = {}

    def made_of(keep, unique, base):
        key = (keep, unique, base)
        if key not in made:
            made[key] = shortlist(Salts(DRAWS), judge(unique=unique, base=BASE if base else None), keep)
        return made[key]

    return made_of


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize(
    ("keep", "unique", "base"), [(5, True, False), (5, True, True), (None, True, True), (9, False, True)]
)
def test_parts_and_their_order_change_nothing(whole, count, keep, unique, base):
    by = judge(unique=unique, base=BASE if base else None)
    expected = whole(keep, unique, base)
    size = math.ceil(DRAWS / count)
    parts = [
        judge_part(Salts(DRAWS), by, range(first, min(first + size, DRAWS)), keep) for first in range(0, DRAWS, size)
    ]
    assert len(parts) == count
    np.random.default_rng(count).shuffle(parts)
    while len(parts) > 1:
        parts = [merge_parts(parts[first : first + 3], keep) for first in range(0, len(parts), 3)]
    merged = parts[0]
    assert as_rows(selected(merged, by, keep)) == as_rows(expected.kept)
    assert (merged.count, merged.judged, merged.lost_count) == (DRAWS, DRAWS, 0)
    assert merged.passed == round(expected.share * DRAWS)
    own = {name: number for name, number in expected.reasons().items() if name not in ("repeats", "the base")}
    assert merged.refused_for == own
    if keep is not None:
        assert len(merged.contenders) < merged.passed


def made_up(seed):
    """Return contenders without crystals: formulas, keys within formulas, and energies many of which are equal."""
    draw = np.random.default_rng(seed).integers
    found = []
    for number in range((3, 30, 200)[draw(3)]):
        formula = f"F{draw(12)}"
        energy = math.inf if draw(2) else float(draw(20) / 7)
        found.append(Contender(energy, 0.0, number, formula, f"{formula} {draw(4)}", f"packed {number}"))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_contenders_of_contenders_are_those_of_all(seed):
    draw = np.random.default_rng(1000 + seed).integers
    everyone = made_up(seed)
    options = {"keep": (1, 2, 5, 30, None)[draw(5)], "base": "F3", "unique": bool(draw(3))}
    expected = contenders(everyone, **options)
    parts = [[] for _ in range((2, 7)[draw(2)])]
    for each in everyone:
        parts[draw(len(parts))].append(each)
    best = [contenders(part, **options) for part in parts]
    assert contenders([each for part in best for each in part], **options) == expected
    left = best[0]
    for part in best[1:]:
        left = contenders([*part, *left], **options)
    assert left == expected


def test_formulas_that_are_cut_have_as_many_better_ones_as_are_kept():
    everyone = made_up(7)
    found = contenders(everyone, 3, base="F3")
    assert len({each.formula for each in found} - {"F3"}) == 3
    assert max(each.merit for each in found) < min(
        each.merit for each in everyone if each.formula not in {one.formula for one in found}
    )


def test_what_repeats_the_base_does_not_count():
    # The base's formula is the best of all, and none of its crystals may be kept.
    of_base = [Contender(0.0, 0.0, number, "NaCl", f"NaCl {number}", "") for number in range(4)]
    other = Contender(1.0, 0.0, 9, "KCl", "KCl", "")
    assert contenders([other, *of_base], 1, base="NaCl") == [*of_base, other]
    assert contenders([other, *of_base], 1) == of_base[:1]


def test_draws_that_fail_are_named_and_the_others_count():
    part = judge_part(Salts(200, bad=(70, 140)), judge(), range(200), 3)
    assert [(each.first, each.last) for each in part.lost] == [(64, 127), (128, 191)]
    assert part.lost[0].reason == "RuntimeError: number 70 cannot be drawn"
    assert (part.count, part.judged, part.lost_count) == (200, 72, 128)
    gone = LostDraws(200, 299, "the job gave no result")
    merged = merge_parts([gone, part], 3)
    assert (merged.first, merged.count, merged.judged, merged.lost_count) == (0, 300, 72, 228)
    assert merged.lost[-1] == gone
    nothing = merge_parts([gone], 3)
    assert (nothing.count, nothing.judged, nothing.contenders) == (100, 0, ())


def test_of_a_lost_batch_those_that_were_judged_before_do_not_count():
    lost = LostDraws.of(Batch(range(64, 128), tuple(range(100, 128))), "no luck")
    assert (str(lost), lost.size, lost.count) == ("64 to 127 (no luck)", 64, 28)


def test_what_is_lost_is_listed_shortly():
    together = listed([LostDraws(64, 127, "x"), LostDraws(0, 63, "x"), LostDraws(128, 191, "y" * 500)])
    assert together[0] == LostDraws(0, 127, "x")
    assert len(together[1].reason) < 310
    assert len(listed(LostDraws(2 * k, 2 * k, "x") for k in range(500))) == LISTED


def test_contenders_travel_as_text():
    best = judge_part(Salts(40), judge(), range(40), None).contenders
    again = from_lines(to_lines(best))
    assert tuple(again) == best
    assert as_rows([each.candidate for each in again]) == as_rows([each.candidate for each in best])
    unknown = contender(Candidate(3, BASE, screening={"space_group": "", "passed": True}))
    assert from_lines(to_lines([unknown])) == [unknown]
    assert unknown.above == math.inf
    assert "Infinity" not in to_lines([unknown])
    assert from_lines(to_lines([])) == []
