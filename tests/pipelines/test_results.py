import json

import pytest

from engine.results import Timing
from pipelines import TASKS, load
from pipelines.classification.results import ClassificationResult
from pipelines.generation.results import GenerationResult
from pipelines.question_answering.results import AnswerResult
from pipelines.results import RunInfo, Shortened, total_timing

TIMING = Timing(
    412, new_tokens=64, ttft_s=0.12, prefill_s=412 / 390, decoded_tokens=63, decode_s=63 / 118, finish_reason="stop"
)


def test_the_speed_line_reads_as_the_app_shows_it() -> None:
    line = RunInfo(TIMING, "m", "int8", "cpu").line()
    assert line == "TTFT 0.12 s · prompt 412 tokens at 390/s (0 reused) · 64 tokens at 118/s · stop · int8 · cpu"


def test_the_speed_line_leaves_out_what_did_not_happen() -> None:
    line = RunInfo(Timing(412, prefill_s=412 / 390), "m", "fp32", "cpu").line()
    assert line == "prompt 412 tokens at 390/s (0 reused) · fp32 · cpu"


def test_times_of_several_requests_add_up_to_their_real_speed() -> None:
    slow = Timing(100, 0, 10, 1.0, prefill_s=1.0, decode_s=0.9, finish_reason="length", decoded_tokens=9)
    fast = Timing(120, 20, 10, 0.5, prefill_s=0.5, decode_s=0.6, finish_reason="stop", decoded_tokens=9)
    only_read = Timing(30, prefill_s=0.5, finish_reason="stop")
    both = total_timing([slow, fast, only_read])
    assert (both.prompt_tokens, both.new_tokens, both.ttft_s, both.finish_reason) == (250, 20, 1.0, "stop")
    assert both.prefill_tokens_per_s == (250 - 20) / (1.0 + 0.5 + 0.5)
    assert both.decode_tokens_per_s == 18 / (0.9 + 0.6)  # the first token of each is its prefill's
    assert total_timing([]) == Timing(0)


def test_json_has_the_speeds_beside_counts_and_seconds() -> None:
    timing = RunInfo(TIMING, "m", "int8", "cpu").to_dict()["timing"]
    assert timing["prefill_tokens_per_s"] == pytest.approx(390) and timing["decode_tokens_per_s"] == pytest.approx(118)
    counts = {"prompt_tokens", "reused_tokens", "new_tokens", "guessed_tokens", "decoded_tokens"}
    assert timing.keys() == {
        *counts, "ttft_s", "prefill_s", "decode_s", "prefill_tokens_per_s", "decode_tokens_per_s", "finish_reason",
        "precision", "device",
    }  # fmt: skip


def test_shortened_says_by_how_much() -> None:
    sentence = Shortened(5_000, 3_000).sentence()
    assert "5,000" in sentence and "3,000" in sentence and "40%" in sentence


def test_json_has_the_shapes_of_hugging_face_at_the_top() -> None:
    info = RunInfo(TIMING, "m", "int8", "cpu", Shortened(10, 5), ("a note",))
    label = ClassificationResult([{"label": "a", "score": 0.9}, {"label": "b", "score": 0.1}], info).to_dict()
    assert (label["label"], label["score"], len(label["scores"])) == ("a", 0.9, 2)
    answer = AnswerResult([{"answer": "x", "score": 0.5, "start": 3, "end": 4}], 0.2, info).to_dict()
    assert {"answer", "score", "start", "end"} <= answer.keys()
    text = GenerationResult("hi", 412, 64, 7, info).to_dict()
    assert (
        text["generated_text"] == "hi" and text["details"]["finish_reason"] == "stop" and text["details"]["seed"] == 7
    )
    for result in (label, answer, text):
        back = json.loads(json.dumps(result))
        assert back["timing"]["precision"] == "int8" and back["shortened"]["used_tokens"] == 5
        assert back["notes"] == ["a note"]


def test_every_task_names_a_pipeline_and_an_evaluation_that_exist() -> None:
    assert [task.endpoint for task in TASKS.values()] == ["/classify", "/summarize", "/answer", "/generate"]
    for task in TASKS.values():
        assert callable(load(task.pipeline)) and callable(load(task.run))
        assert load(task.tab).task is task
        assert {"run", "figures", "example", "prompt", "reading"} <= set(dir(load(task.evaluation)))
