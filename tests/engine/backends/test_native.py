"""Our own backend: branches of a text, and what happens where the compiled step cannot run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.backends.base import JOB_SLOTS, MAX_ROWS
from tests.engine.conftest import Models
from tests.engine.reference import expected_logits, opened, random_tokens


def decode(backend: Any, slot: int, position: int, token: int) -> np.ndarray:
    return backend.decode(np.array([token]), np.array([position]), np.array([slot]))[0].copy()


@pytest.mark.parametrize("kernels", [True, False])
def test_branches_of_one_text_and_going_back(models: Models, kernels: bool) -> None:
    """A slot forked twice, each branch with a token of its own; then one goes back and takes another way."""
    folder, (text,) = models("llama"), random_tokens(40)
    with opened(folder, kernels=kernels, max_batch=2) as engine:
        backend = engine._backend
        backend.extend(2, 0, text)
        for branch, token in ((3, 7), (4, 8)):
            backend.fork(2, branch, len(text))
            found = decode(backend, branch, len(text), token)
            np.testing.assert_allclose(found, expected_logits(folder, [*text, token])[-1], atol=1e-4)
        found = decode(backend, 3, len(text) + 1, 9)
        np.testing.assert_allclose(found, expected_logits(folder, [*text, 7, 9])[-1], atol=1e-4)
        found = decode(backend, 3, 10, 5)  # back to the tenth token
        np.testing.assert_allclose(found, expected_logits(folder, [*text[:10], 5])[-1], atol=1e-4)
        logits = backend.extend(4, 20, [1, 2, 3])
        assert logits is not None
        np.testing.assert_allclose(logits, expected_logits(folder, [*text[:20], 1, 2, 3])[-1], atol=1e-4)


@pytest.mark.parametrize("kernels", [True, False])
def test_several_tokens_of_a_slot_in_one_call_are_those_tokens_in_turn(models: Models, kernels: bool) -> None:
    """Two slots in one call: one with five tokens, one with a single one between others' of no concern to it."""
    folder, (first, second) = models("qwen3"), random_tokens(30, 12)
    with opened(folder, kernels=kernels, max_batch=4) as engine:
        backend = engine._backend
        backend.extend(0, 0, first[:25])
        backend.extend(3, 0, second[:11])
        tokens = np.array([*first[25:], second[11]])
        positions, slots = np.array([*range(25, 30), 11]), np.array([0] * 5 + [3])
        found = backend.decode(tokens, positions, slots).copy()
        np.testing.assert_allclose(found[:5], expected_logits(folder, first)[25:], atol=1e-4)
        np.testing.assert_allclose(found[5], expected_logits(folder, second)[11], atol=1e-4)
        # Guesses that were wrong are written over: back to position 26 with another token.
        again = decode(backend, 0, 26, 9)
        np.testing.assert_allclose(again, expected_logits(folder, [*first[:26], 9])[-1], atol=1e-4)


def test_as_many_rows_of_a_slot_as_its_positions_allow_between_threads(models: Models) -> None:
    with opened(models("llama"), threads=2) as engine:
        rows = [engine._backend.rows(position) for position in (0, 1, 2, 5, 15, 16, 400)]
        assert rows == [1, 1, 2, 5, 15, MAX_ROWS, MAX_ROWS]


@pytest.mark.parametrize("kv_precision", ["fp32", "half", "int8"])
def test_what_is_read_of_a_slot_and_written_to_another_is_the_same_text(models: Models, kv_precision: str) -> None:
    (text,) = random_tokens(40)
    with opened(models("llama"), kv_precision=kv_precision, max_batch=2) as engine:
        backend = engine._backend
        backend.extend(0, 0, text)
        expected = decode(backend, 0, 40, 7)
        backend.extend(1, 0, random_tokens(60, seed=5)[0])  # what stood there before
        run = backend.read(0, 0, 40)
        assert run.tokens == 40
        backend.extend(0, 0, random_tokens(40, seed=6)[0])  # a run is a copy
        backend.write(1, 0, run[:15])
        backend.write(1, 15, run[15:].compact())
        np.testing.assert_array_equal(decode(backend, 1, 40, 7), expected)


def test_there_is_a_slot_for_every_sequence_and_job(models: Models) -> None:
    with opened(models("llama"), max_batch=3) as engine:
        last = 3 + JOB_SLOTS - 1
        assert engine._backend.extend(last, 0, [5, 6]) is not None
        with pytest.raises(IndexError):
            engine._backend.extend(last + 1, 0, [5, 6])


def test_without_the_compiled_step_decode_goes_on_in_torch_and_says_so(
    models: Models, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import engine.kernels.compiled

    def fail(*given: object) -> None:
        raise RuntimeError("can't start new thread")

    with opened(models("llama"), kernels=True, threads=1) as engine_:
        expected = engine_.generate([[5, 6, 7]])[0].token_ids
    monkeypatch.setattr(engine.kernels.compiled, "Team", fail)
    with opened(models("llama"), kernels=True, threads=1) as engine_:
        assert any("plain torch, slower" in note for note in engine_.info.notes)
        assert "plain torch, slower" in caplog.text
        assert engine_.generate([[5, 6, 7]])[0].token_ids == expected


def test_an_engine_whose_kernels_run_as_another_tier_says_so(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    import engine.kernels.tiers

    monkeypatch.setattr(engine.kernels.tiers, "note", lambda: "The kernels run as a narrower tier.")
    with opened(models("llama"), kernels=True, threads=1) as engine_:
        assert "The kernels run as a narrower tier." in engine_.info.notes
    with opened(models("llama"), kernels=False) as engine_:
        assert "The kernels run as a narrower tier." not in engine_.info.notes
