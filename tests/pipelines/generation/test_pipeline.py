from typing import Any

import pytest

from engine.config import SamplingParams
from engine.errors import BadRequest
from pipelines.generation.pipeline import PRESETS, GenerationPipeline
from tests.pipelines.fake_engine import FakeEngine

GREEDY = SamplingParams(max_tokens=32)


def pipeline(engine: FakeEngine) -> GenerationPipeline:
    return GenerationPipeline(engine)  # type: ignore[arg-type]


def test_a_chat_goes_through_the_template_and_a_continuation_does_not() -> None:
    engine = FakeEngine(reply=lambda prompt: " world.")
    result = pipeline(engine)("Hello", params=GREEDY, system="Be brief.")
    assert result.generated_text == " world." and result.new_tokens == 2
    assert engine.prompts[0].startswith("system\nBe brief.") and engine.prompts[0].endswith("assistant\n")
    pipeline(engine)("Hello", mode="continue", params=GREEDY)
    assert engine.prompts[1] == "Hello"


def test_an_answer_may_be_begun_and_what_comes_back_is_what_was_written_on() -> None:
    engine = FakeEngine(reply=lambda prompt: " world.")
    assert pipeline(engine)("Greet.", params=GREEDY, reply="Hello").generated_text == " world."
    assert engine.prompts[0].endswith("assistant\nHello")


def test_updates_grow_to_the_result() -> None:
    updates = list(pipeline(FakeEngine(reply=lambda prompt: "one two three")).stream("Count.", params=GREEDY))
    texts = [update.generated_text for update in updates]
    assert texts == ["one", "one two", "one two three"]
    assert updates[-1].info.timing.finish_reason == "stop" and updates[0].info.timing.finish_reason is None


def test_an_empty_answer_is_still_an_answer() -> None:
    result = pipeline(FakeEngine(reply=lambda prompt: ""))("Say nothing.", params=GREEDY)
    assert result.generated_text == "" and result.info.timing.finish_reason == "stop"


def test_a_drawn_seed_is_told_and_a_given_one_is_kept() -> None:
    engine = FakeEngine()
    drawn = pipeline(engine)("Hello", params=SamplingParams(temperature=1.0, max_tokens=8))
    assert engine.params[0].seed == drawn.seed
    kept = pipeline(engine)("Hello", params=SamplingParams(temperature=1.0, max_tokens=8, seed=5))
    assert kept.seed == 5 == engine.params[1].seed


def test_parameters_reach_the_engine_as_they_are() -> None:
    engine = FakeEngine(reply=lambda prompt: "one STOP two")
    params = SamplingParams(max_tokens=9, stop=("STOP",), top_p=0.5, seed=1)
    assert pipeline(engine)("Hello", params=params).generated_text == "one "
    assert engine.params == [params]


def test_a_prompt_over_the_window_is_shortened_and_says_so() -> None:
    engine = FakeEngine(max_context=100)
    for mode in ("chat", "continue"):
        result = pipeline(engine)("first " + "word " * 300 + "last", mode=mode, params=GREEDY)
        assert result.info.shortened is not None
        assert "first" in engine.prompts[-1] and "last" in engine.prompts[-1]


def test_closing_the_stream_stops_the_engine() -> None:
    engine = FakeEngine(reply=lambda prompt: "word " * 30)
    updates = pipeline(engine).stream("Hello", params=GREEDY)
    next(updates)
    updates.close()  # type: ignore[attr-defined]
    assert engine.steps == 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "\ud83d"}, "surrogate"),
        ({"mode": "sing"}, "chat or continue"),
        ({"params": SamplingParams(max_tokens=10_000)}, "512"),
        ({"system": "a\0b"}, "NUL"),
        ({"reply": "a\0b"}, "NUL"),
    ],
)
def test_bad_requests_get_one_sentence_before_anything_runs(options: dict[str, Any], word: str) -> None:
    engine = FakeEngine()
    with pytest.raises(BadRequest, match=word):
        pipeline(engine).stream(**{"prompt": "Hello", "params": GREEDY, **options})
    assert not engine.prompts


def test_a_base_model_says_how_to_go_on() -> None:
    engine = FakeEngine()
    engine.tokenizer.has_chat_template = False
    with pytest.raises(BadRequest, match="continue"):
        pipeline(engine)("Hello", params=GREEDY)
    assert pipeline(engine)("Hello", mode="continue", params=GREEDY).generated_text


def test_presets_are_what_the_app_offers() -> None:
    assert list(PRESETS) == ["Deterministic", "Balanced", "Creative"]
    assert PRESETS["Deterministic"].temperature == 0
