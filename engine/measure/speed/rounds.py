"""Candidates in turn: A B C A B C, each on the same token ids, the others at rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.measure.worker import Worker

# Between two turns: OpenMP threads stop spinning within 0.2 s of their last work (Intel's; GNU's within milliseconds).
REST_S = 0.3
WARM_TOKENS = 8  # of each candidate's first, uncounted run

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One turn: seconds to the first token (of the last stream to have one), seconds in which all streams decoded,
    tokens they made in them, seconds in all, and the tokens of each stream."""

    ttft_s: float
    decode_s: float
    decoded: int
    whole_s: float
    tokens: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Run:
        tokens = tuple(tuple(own) for own in answer["tokens"])
        return cls(answer["ttft_s"], answer["decode_s"], answer["decoded"], answer["whole_s"], tokens)

    def prefill(self, prompt_tokens: int) -> float:
        """Prompt tokens a second, of `prompt_tokens` in all."""
        return prompt_tokens / self.ttft_s

    @property
    def decode(self) -> float:
        """New tokens a second, all streams together."""
        return self.decoded / self.decode_s if self.decode_s > 0 else 0.0


@dataclass
class Rounds:
    """Runs by candidate, one a round; ceilings (`bandwidth` bytes/s, `flops` 1/s), one a round; and `stray`: the most
    of one core that another candidate used during a turn, and its name."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    ceilings: list[dict[str, float]] = field(default_factory=list)
    stray: float = 0.0
    stray_of: str = ""


def make_prompts(ids: Sequence[int], length: int, batch: int, round_: int) -> list[list[int]]:
    """Prompts that begin differently from one another and from round to round (up to len(ids) of them), so that nothing
    kept of one can stand in for another.

    Parameters
    ----------
    ids : token ids of a text, rotated and repeated.
    length : tokens of each prompt.
    batch : prompts of a round.
    round_ : number of the round; -1 for one that is not counted.
    """
    prompts = []
    for stream in range(batch):
        turn = (round_ * batch + stream) % len(ids)
        turned = [*ids[turn:], *ids[:turn]]
        prompts.append((turned * (length // len(ids) + 1))[:length])
    return prompts


def run_rounds(
    workers: dict[str, Worker], ids: Sequence[int], length: int, new: int, batch: int, repeat: int, say: Say,
    meter: Worker | None = None, threads: int = 1,
) -> Rounds:  # fmt: skip
    """Rounds of all in turn.

    Parameters
    ----------
    workers : by name, each has run once before.
    ids : token ids of the text that prompts are made of.
    length, new : tokens of a prompt, and new ones.
    batch : prompts side by side.
    repeat : rounds.
    say : told who runs.
    meter : measures the ceilings at each round's end; None measures none.
    threads : CPU threads that the ceilings are measured with.
    """
    found = Rounds({name: [] for name in workers})
    for round_ in range(repeat):
        prompts = make_prompts(ids, length, batch, round_)
        take_turns(found, workers, prompts, new, f"round {round_ + 1} of {repeat}", say, [meter] if meter else [])
        if meter is not None:
            say(f"round {round_ + 1} of {repeat}: this machine's ceilings")
            time.sleep(REST_S)
            found.ceilings.append(meter.ask("ceilings", threads=threads))
    return found


def take_turns(
    found: Rounds,
    workers: dict[str, Worker],
    prompts: list[list[int]],
    new: int,
    what: str,
    say: Say,
    besides: Sequence[Worker] = (),
) -> None:
    """One round of all in turn, put into `found`.

    Parameters
    ----------
    found : has a list of runs for each of them.
    workers : by name.
    prompts : token ids, the same for each.
    new : new tokens.
    what : said with the name of each.
    say : told who runs.
    besides : others who are to rest meanwhile.
    """
    for name, worker in workers.items():
        say(f"{what}: {name}")
        with _Watch(found, [w for w in (*workers.values(), *besides) if w is not worker]):
            found.runs[name].append(Run.of(worker.ask("run", prompts=prompts, new=new)))


class _Watch:
    """Waits until the others rest, then holds against them what processor time they use during a turn."""

    def __init__(self, found: Rounds, others: list[Worker]) -> None:
        self._found, self._others = found, others

    def __enter__(self) -> None:
        time.sleep(REST_S)
        self._began = time.perf_counter()
        self._used = [worker.cpu_s() for worker in self._others]

    def __exit__(self, *_: object) -> None:
        took = time.perf_counter() - self._began
        for worker, before in zip(self._others, self._used, strict=True):
            now = worker.cpu_s()
            if before is not None and now is not None and (now - before) / took > self._found.stray:
                self._found.stray, self._found.stray_of = (now - before) / took, worker.name
