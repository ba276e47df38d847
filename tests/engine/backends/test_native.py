"""Our own backend: branches of a text, and what happens where the compiled step cannot run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.backends.base import JOB_SLOTS
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


def test_there_is_a_slot_for_every_sequence_and_job(models: Models) -> None:
    with opened(models("llama"), max_batch=3) as engine:
        last = 3 + JOB_SLOTS - 1
        assert engine._backend.extend(last, 0, [5, 6]) is not None
        with pytest.raises(IndexError):
            engine._backend.extend(last + 1, 0, [5, 6])


def test_without_the_compiled_step_decode_goes_on_in_torch_and_says_so(
    models: Models, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import engine.kernels.native

    def fail(threads: int) -> bool:
        return False

    with opened(models("llama"), kernels=True, threads=1) as engine_:
        expected = engine_.generate([[5, 6, 7]])[0].token_ids
    monkeypatch.setattr(engine.kernels.native, "team_is_whole", fail)
    with opened(models("llama"), kernels=True, threads=1) as engine_:
        assert "plain torch, slower" in engine_.info.notes[0]
        assert "plain torch, slower" in caplog.text
        assert engine_.generate([[5, 6, 7]])[0].token_ids == expected
