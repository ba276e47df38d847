"""Everyone in turn on the same tokens, and nobody busy while another is timed."""

from __future__ import annotations

from typing import Any

import pytest

from engine.measure.speed import rounds
from engine.measure.speed.rounds import make_prompts, run_rounds
from tests.engine.measure.speed.fake_worker import Fake


class Beside:
    """A fake worker in this process, that notes when it was asked what."""

    def __init__(self, name: str, log: list[tuple[str, Any]], busy: float = 0.0) -> None:
        self.name, self._log, self._fake = name, log, Fake()
        self._busy, self._used = busy, 0.0

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        self._log.append((self.name, request))
        answer: dict[str, Any] = getattr(self._fake, do)(**request)
        return answer

    def cpu_s(self) -> float:
        self._used += self._busy
        return self._used


@pytest.fixture(autouse=True)
def _no_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "REST_S", 0)


def workers(*names: str, busy: str = "") -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    log: list[tuple[str, Any]] = []
    return {name: Beside(name, log, 10.0 if name == busy else 0.0) for name in names}, log


def test_rounds_go_a_b_c_a_b_c_on_the_same_tokens() -> None:
    running, log = workers("a", "b", "c")
    meter = Beside("meter", log)
    found = run_rounds(running, range(1, 40), 20, 4, 1, 2, lambda text: None, meter, threads=2)  # type: ignore[arg-type]
    assert [name for name, _ in log] == ["a", "b", "c", "meter"] * 2
    first, second = [[r["prompts"] for n, r in log[i : i + 3] if n != "meter"] for i in (0, 4)]
    assert first[0] == first[1] == first[2] and second[0] == second[1] != first[0]
    assert [len(runs) for runs in found.runs.values()] == [2, 2, 2]
    assert found.ceilings == [{"bandwidth": 2e6, "flops": 2e9, "round_trip": 8e-8}] * 2


def test_speeds_are_tokens_over_seconds() -> None:
    running, _ = workers("a")
    [run] = run_rounds(running, range(1, 40), 20, 5, 2, 1, lambda text: None).runs["a"]
    assert run.prefill(40) == pytest.approx(100)  # the fake's own speed
    assert run.decode == pytest.approx(2 * 4 / 0.4)
    assert len(run.tokens) == 2


def test_one_who_does_not_rest_is_named() -> None:
    running, _ = workers("a", "b", "c", busy="b")
    found = run_rounds(running, range(1, 40), 20, 4, 1, 1, lambda text: None)
    assert found.stray_of == "b" and found.stray > 1
    quiet, _ = workers("a", "b")
    assert run_rounds(quiet, range(1, 40), 20, 4, 1, 1, lambda text: None).stray == 0


def test_prompts_have_their_length_and_begin_apart() -> None:
    ids = list(range(1, 43))
    seen = [tuple(p) for round_ in range(5) for p in make_prompts(ids, 100, 8, round_)]
    assert {len(prompt) for prompt in seen} == {100}
    assert len({prompt[0] for prompt in seen}) == 40  # nothing kept of one serves another
    assert make_prompts(ids, 7, 1, 0) == [ids[:7]]
