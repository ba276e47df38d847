import json

from engine.results import Timing
from pipelines import TASKS, load
from pipelines.results import AnswerResult, ClassificationResult, GenerationResult, RunInfo, Shortened, total_timing

TIMING = Timing(412, 0, 64, 0.12, 390.0, 118.0, "stop")


def test_the_speed_line_reads_as_the_app_shows_it() -> None:
    line = RunInfo(TIMING, "m", "int8", "cpu").line()
    assert line == "TTFT 0.12 s · prompt 412 tokens at 390/s (0 reused) · 64 tokens at 118/s · stop · int8 · cpu"


def test_the_speed_line_leaves_out_what_did_not_happen() -> None:
    line = RunInfo(Timing(412, prefill_tokens_per_s=390.0), "m", "fp32", "cpu").line()
    assert line == "prompt 412 tokens at 390/s (0 reused) · fp32 · cpu"


def test_times_of_several_requests_add_up_to_their_real_speed() -> None:
    slow, fast = Timing(100, 0, 10, 1.0, 100.0, 10.0, "length"), Timing(100, 0, 10, 0.5, 200.0, 20.0, "stop")
    both = total_timing([slow, fast])
    assert (both.prompt_tokens, both.new_tokens, both.ttft_s, both.finish_reason) == (200, 20, 1.0, "stop")
    assert both.prefill_tokens_per_s == 200 / (1.0 + 0.5)
    assert both.decode_tokens_per_s == 20 / (1.0 + 0.5)


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
    assert [task.endpoint for task in TASKS] == ["/classify", "/summarize", "/answer", "/generate"]
    for task in TASKS:
        assert callable(load(task.pipeline))
        assert {"run", "figures", "example", "prompt", "reading"} <= set(dir(load(task.evaluation)))
