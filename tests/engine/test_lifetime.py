"""Work that is stopped, engines that are shared, and engines that are closed."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine import Engine, EngineConfig, SamplingParams, shared_engine
from engine.serving.cancellation import Cancellation, Cancelled
from engine.serving.scheduler import Closed
from tests.engine.conftest import Models
from tests.engine.reference import GREEDY, LONG, PROMPTS, tokens_of

# ---- stopping


def steps_settle(engine: Engine) -> int:
    """The step counter once a request made now has been through: whatever was cancelled before has left by then."""
    engine.generate([[5]], SamplingParams(max_tokens=1))
    return engine.steps - 1


def test_closing_a_stream_stops_the_work_within_one_step(engine: Engine) -> None:
    stream = engine.stream(PROMPTS[1], LONG)
    for _ in range(3):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    closed = engine.steps
    assert steps_settle(engine) - closed <= 1
    assert steps_settle(engine) - steps_settle(engine) == -1  # and from then on only what is asked for runs


def test_a_stream_closed_before_its_first_token_never_runs(engine: Engine) -> None:
    before = engine.steps
    engine.stream(PROMPTS[1], LONG).close()  # type: ignore[attr-defined]
    assert steps_settle(engine) == before


def test_a_stream_waits_to_be_begun_off_the_clock(engine: Engine) -> None:
    stream = engine.stream(PROMPTS[1], GREEDY)
    asked = threading.Event()
    asked.wait(0.3)
    first = next(stream)
    assert first.timing is not None
    assert 0 < first.timing.ttft_s < 0.3


def test_a_cancelled_scope_stops_every_call_inside_it_and_no_other(engine: Engine) -> None:
    calls: list[Callable[[], object]] = [
        lambda: engine.generate([[5, i] for i in range(20)], LONG),
        lambda: list(engine.stream([7], LONG)),
        lambda: [engine.score([[6, i]], [[8], [9, 10]]) for i in itertools.count(1)],
        lambda: [engine.embed([[5, 6]]) for _ in itertools.count()],
    ]
    wanted = Cancellation()

    def ask(call: Callable[[], object]) -> str:
        with wanted.scope():
            try:
                call()
            except Cancelled:
                return "told"
        return "went on"

    with ThreadPoolExecutor(len(calls)) as pool:
        told = [pool.submit(ask, call) for call in calls]
        before = engine.steps
        while engine.steps < before + 10:
            assert not any(one.done() for one in told)
        wanted.cancel()
        assert [one.result(10) for one in told] == ["told"] * len(calls)
    rest = steps_settle(engine)
    assert steps_settle(engine) - rest == 1  # only what is asked for runs
    with wanted.scope(), pytest.raises(Cancelled):
        engine.generate([[5]], GREEDY)


# ---- one engine for equal configs, and its end


def test_equal_configs_share_one_engine_until_the_last_lease_is_closed(models: Models) -> None:
    config = EngineConfig(str(models("mistral")), precision="fp32", kernels=False)
    with ThreadPoolExecutor(4) as pool:
        leases = list(pool.map(lambda _: shared_engine(config), range(4)))
    assert len({id(lease._backend) for lease in leases}) == 1  # one model in memory, which no public name shows
    first, *others = leases
    first.close()
    first.close()  # again: it takes nobody else's
    with pytest.raises(Closed):
        first.generate(PROMPTS[0], GREEDY)
    expected = tokens_of(others[0], [PROMPTS[0]])
    for lease in others[1:]:
        lease.close()
    assert tokens_of(others[0], [PROMPTS[0]]) == expected
    with shared_engine(config) as another:
        others[0].close()
        assert tokens_of(another, [PROMPTS[0]]) == expected
    with pytest.raises(Closed):
        another.generate(PROMPTS[0], GREEDY)
    with shared_engine(config) as fresh:  # loaded anew
        assert fresh._backend is not first._backend
        assert tokens_of(fresh, [PROMPTS[0]]) == expected


def test_an_engine_of_ones_own_is_nobody_elses(models: Models) -> None:
    config = EngineConfig(str(models("gpt2")), precision="fp32", kernels=False)
    with shared_engine(config) as lease, Engine(config) as own, Engine(config) as other:
        assert len({id(engine._backend) for engine in (lease, own, other)}) == 3
        own.close()
        assert tokens_of(lease, [PROMPTS[0]]) == tokens_of(other, [PROMPTS[0]])
    for engine in (lease, own, other):
        with pytest.raises(Closed):
            engine.generate(PROMPTS[0], GREEDY)


def test_a_closed_engine_says_so_to_those_who_wait_and_those_who_come(models: Models) -> None:
    engine = Engine(EngineConfig(str(models("llama")), precision="fp32", kernels=False, max_batch=1))
    stream = engine.stream(PROMPTS[1], LONG)
    next(stream)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(engine.generate, PROMPTS[2], GREEDY)
        engine.close()
        with pytest.raises(Closed, match="The engine was closed: load it again"):
            waiting.result(10)
    with pytest.raises(Closed):
        list(stream)
    calls: list[Callable[[], object]] = [
        lambda: engine.generate("a"), lambda: engine.score("a", ["b"]), lambda: engine.embed("a"),
        lambda: engine.logprobs("ab"), lambda: next(iter(engine.stream("a"))),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(Closed):
            call()


def test_a_closed_engine_is_freed(models: Models) -> None:
    engine = Engine(EngineConfig(str(models("gpt2")), precision="int8", kernels=False, threads=1))
    gone = weakref.ref(engine._backend)
    engine.close()
    del engine
    gc.collect()
    assert gone() is None


def test_loading_can_be_given_up_from_the_progress_callback(models: Models) -> None:
    threads = threading.active_count()
    config = EngineConfig(str(models("gpt2")), precision="half", kernels=False, threads=1)
    for stage in ("Loading", "Preparing", "Ready"):

        def give_up(message: str, share: float | None, stage: str = stage) -> None:
            if message.startswith(stage):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Engine(config, give_up)
        assert threading.active_count() == threads
    heard: list[str] = []
    Engine(config, lambda message, share: heard.append(message)).close()
    assert heard[-1] == "Ready"
