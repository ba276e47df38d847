"""Guesses: a draft is what a search by hand finds, and as much of it is tried as pays by what was measured."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backends.base import MAX_ROWS
from engine.decoding.speculation import LONGEST, MOST_PATIENCE, PATIENCE, PROBE, Guesser, Lookup, Speculation, StepCosts


def by_hand(ids: list[int], most: int) -> tuple[list[int], int]:
    """The longest end of `ids` that stood before, where it last did, and what came after."""
    for n in range(min(LONGEST, len(ids)), 0, -1):
        for start in range(len(ids) - n - 1, -1, -1):
            if ids[start : start + n] == ids[len(ids) - n :]:
                text = list(ids)
                for _ in range(most):
                    text.append(text[start + n + len(text) - len(ids)])
                return text[len(ids) :], n
    return [], 0


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 8))
def test_a_draft_is_what_followed_the_longest_and_latest_match(ids: list[int], most: int) -> None:
    assert Lookup().draft(ids, most) == by_hand(ids, most)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=12))
def test_it_grows_with_its_sequence(pieces: list[list[int]]) -> None:
    lookup, ids = Lookup(), []
    for piece in pieces:
        ids += piece
        assert lookup.draft(ids, 4) == by_hand(ids, 4)


def test_a_repetition_goes_on() -> None:
    assert Lookup().draft([9, 1, 2, 1, 2, 1], 5) == ([2, 1, 2, 1, 2], 3)
    assert Lookup().draft([5, 5], 3) == ([5, 5, 5], 1)
    assert Lookup().draft([5], 3) == Lookup().draft([1, 2, 3], 3) == ([], 0)


COUNT = list(range(100, 140))
REPEATING = [*COUNT, *COUNT[:10]]  # its last three tokens stand before, with thirty after them


def costs(*seconds: float) -> StepCosts:
    """Steps of 1, 2, ... rows."""
    made = StepCosts()
    for rows, took in enumerate(seconds, 1):
        made.note(rows, took)
    return made


FREE = costs(*[1.0] * MAX_ROWS)
DEAR = costs(*[float(rows) for rows in range(1, MAX_ROWS + 1)])  # a row costs as much as a step


def test_rows_that_cost_nothing_are_all_taken_and_rows_that_cost_a_step_are_not() -> None:
    assert Guesser().propose(REPEATING, 9, 1, 1.0, FREE) == COUNT[10:19]
    assert Guesser().propose(REPEATING, 9, 1, 1.0, DEAR) == []
    assert Guesser().propose(COUNT, 9, 1, 1.0, FREE) == []  # nothing stood before


def test_right_guesses_lengthen_the_drafts_and_wrong_ones_end_them() -> None:
    measured = costs(*[1 + 0.3 * (rows - 1) for rows in range(1, MAX_ROWS + 1)])
    lucky, unlucky = Guesser(), Guesser()
    first = lucky.propose(REPEATING, 15, 1, 1.0, measured)
    assert 1 <= len(first) < 15
    for _ in range(20):
        lucky.note(len(lucky.propose(REPEATING, 15, 1, 1.0, measured)), 15)
        unlucky.note(len(unlucky.propose(REPEATING, 15, 1, 1.0, measured)), 0)
    assert len(lucky.propose(REPEATING, 15, 1, 1.0, measured)) > len(first)
    assert unlucky.propose(REPEATING, 15, 1, 1.0, measured) == []
    assert unlucky.right == 0
    assert unlucky.tested >= 1


def test_while_it_loses_it_is_tried_again_less_and_less_often() -> None:
    guesser, gaps, since = Guesser(), [], 0
    for _ in range(5 * MOST_PATIENCE):
        since += 1
        if draft := guesser.propose(REPEATING, 9, 1, 1.0, DEAR):
            assert len(draft) == PROBE
            guesser.note(len(draft), 0)
            gaps.append(since)
            since = 0
    assert gaps[:5] == [PATIENCE, 2 * PATIENCE, 4 * PATIENCE, 8 * PATIENCE, 16 * PATIENCE]
    assert max(gaps) == MOST_PATIENCE


def test_a_probe_that_is_right_brings_speculation_back() -> None:
    guesser = Guesser()
    measured = costs(*[1 + 0.5 * (rows - 1) for rows in range(1, MAX_ROWS + 1)])
    for _ in range(12):
        guesser.note(len(guesser.propose(REPEATING, 4, 1, 1.0, measured)), 0)
    tries = 0
    while tries < 2000 and len(draft := guesser.propose(REPEATING, 4, 1, 1.0, measured)) <= PROBE:
        guesser.note(len(draft), len(draft))
        tries += 1
    assert tries < 2000
    assert guesser.propose(REPEATING, 4, 1, 1.0, measured)  # and stays


def test_a_hiccup_of_the_machine_moves_a_cost_little() -> None:
    measured = costs(1.0)
    measured.note(1, 100.0)
    assert measured(1) == pytest.approx(1.2)
    measured.note(1, 0.2)
    assert measured(1) == pytest.approx(1.0)


def test_a_cost_not_seen_yet_is_presumed_from_the_nearest() -> None:
    assert StepCosts()(5) / StepCosts()(1) == pytest.approx(2.0)
    assert costs(0.1)(5) == pytest.approx(0.2)
    assert costs(0.1, 0.3)(3) == pytest.approx(0.36)


def test_a_batch_shares_the_rows_of_a_step() -> None:
    speculation = Speculation()
    speculation.costs = FREE
    for texts in (1, 2, 5, 12, MAX_ROWS):
        drafts = speculation.plan([(Guesser(), REPEATING, 15)] * texts)
        assert texts + sum(map(len, drafts)) == MAX_ROWS
        assert max(map(len, drafts)) - min(map(len, drafts)) <= 1
    assert speculation.plan([(Guesser(), REPEATING, 3), (Guesser(), REPEATING, 0)]) == [COUNT[10:13], []]
