"""The identity checks on a tiny model: all hold, reuse and guesses really take place, and a broken switch is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.backends.native import NativeBackend
from engine.cache.prefix import KVRun
from engine.config import Precision
from engine.decoding.speculation import StepCosts
from engine.measure.check_prompts import OPENINGS, prompts
from engine.measure.lossless import Identity, identities

pytestmark = pytest.mark.slow  # engines with compiled kernels

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
ASKED = prompts(27)[20:]


def by_name(found: list[Identity]) -> dict[str, Identity]:
    return {one.what: one for one in found}


def test_there_are_as_many_prompts_as_asked_for_and_they_share_beginnings() -> None:
    asked = prompts(100)
    assert len(set(asked)) == len(asked) == 100
    assert asked == prompts(120)[:100]
    assert tuple(prompts(20)) == OPENINGS
    assert sum(asked[i][:60] == asked[i + 1][:60] for i in range(20, 99)) >= 40


@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_hold_on_a_tiny_model(tiny_llama: Path, precision: Precision) -> None:
    found = by_name(list(identities(str(tiny_llama), precision, ASKED, 24, references=2)))
    assert {what: one.differing for what, one in found.items()} == dict.fromkeys(found, ())
    assert ("Transformers generate" in found) == (precision == "fp32")
    assert {"all prompts at once", "eight threads at once", "speculation", "prefix reuse, warm"} <= set(found)
    assert found["prefix reuse, cold"].prompts == len(ASKED)
    cold, warm = (int(found[f"prefix reuse, {how}"].note.split()[0].replace(",", "")) for how in ("cold", "warm"))
    assert 0 < cold < warm


def test_a_switch_that_changes_tokens_is_named_with_the_prompt(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = NativeBackend.write

    def wrong(self: NativeBackend, slot: int, start: int, run: KVRun) -> None:
        write(self, slot, start, KVRun(tuple(-part for part in run.parts)))

    monkeypatch.setattr(NativeBackend, "write", wrong)
    found = by_name(list(identities(str(tiny_llama), "int8", ASKED, 16, references=1)))
    assert found["all prompts at once"].differing == ()
    assert len(found["prefix reuse, warm"].differing) >= 5
    assert "differs after" in found["prefix reuse, warm"].differing[0]
    assert ASKED[0][:20] in found["prefix reuse, warm"].differing[0]


def test_guesses_that_are_taken_unchecked_are_found(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = NativeBackend.decode

    def careless(self: NativeBackend, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        logits = decode(self, tokens, positions, slots).copy()
        for row in range(len(tokens) - 1):
            if slots[row] == slots[row + 1]:
                logits[row, tokens[row + 1]] = 1e4  # whatever is guessed is right
        return logits

    monkeypatch.setattr(NativeBackend, "decode", careless)
    monkeypatch.setattr(NativeBackend, "likeliest", lambda self: None)  # it is looked for in the logits above
    monkeypatch.setattr(StepCosts, "note", lambda self, rows, seconds: None)  # what is guessed depends on no clock
    found = by_name(list(identities(str(tiny_llama), "int8", ASKED, 16, references=1)))
    assert found["prefix reuse, warm"].differing == ()
    assert len(found["speculation"].differing) >= 1
