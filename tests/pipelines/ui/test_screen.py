"""What every screen shares, its handlers run as plain generators."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.errors import BadRequest, UserError
from pipelines.classification import tab as classification
from pipelines.generation import tab as generation
from pipelines.question_answering import tab as question_answering
from pipelines.question_answering.results import Answer
from pipelines.summarization import tab as summarization
from pipelines.ui import screen, sidebar
from pipelines.ui.holder import EngineHolder, Status
from tests.pipelines.paced_engine import PacedEngine, at_rest, holding

NASTY = '<img src=x onerror="boom()"><script>boom()</script> **bold** & "quoted"'
KEPT = gr.skip()
VISITOR = gr.Request(session_hash="a visitor")
TABS: dict[str, tuple[Any, int, tuple[Any, ...]]] = {
    "classification": (classification, 1, classification.EXAMPLES[0].values),
    "summarization": (summarization, 1, summarization.EXAMPLES[0].values),
    "question_answering": (question_answering, 2, question_answering.EXAMPLES[0].values),
    "generation": (generation, 1, generation.EXAMPLES[0].values),
}


def handler(holder: EngineHolder, task: str) -> Any:
    tab, outputs, _ = TABS[task]
    return partial(screen.run_handler(holder, tab.SCREEN, outputs), VISITOR)


@pytest.mark.parametrize("task", TABS)
def test_a_run_ends_with_an_answer_a_line_and_stop_at_rest(task: str) -> None:
    holder = holding(PacedEngine(reply=lambda prompt: "An answer.", max_context=4096))
    frames = list(handler(holder, task)(*TABS[task][2]))
    outputs = TABS[task][1]
    assert all(len(frame) == outputs + 2 for frame in frames)
    assert frames[0][:outputs] == [KEPT] * outputs, "what was there before stays until something new comes"
    assert frames[0][-1]["interactive"] is True and frames[-1][-1]["interactive"] is False
    answered = [frame for frame in frames if frame[0] != KEPT]
    assert answered and "Done" in answered[-1][-2] and "fp32 · cpu" in answered[-1][-2]


@pytest.mark.parametrize("task", TABS)
def test_closing_the_handler_frees_the_engine(task: str) -> None:
    holder = holding(engine := PacedEngine(pace=0.05, max_context=400))
    values = list(TABS[task][2])
    values[0] = "one two three four five six seven eight nine ten. " * 100
    frames = handler(holder, task)(*values)
    while engine.steps < 1:
        next(frames)
    frames.close()
    assert at_rest(engine, 1.0)


def test_a_new_run_takes_the_place_of_the_one_before() -> None:
    holder = holding(engine := PacedEngine(pace=0.05))
    run = handler(holder, "generation")
    first = run(*TABS["generation"][2])
    while engine.steps < 3:
        next(first)
    engine.reply = lambda prompt: "The second."
    second = list(run(*TABS["generation"][2]))
    assert [frame for frame in first if frame[-1] != KEPT] == [], "the first leaves the buttons to the second"
    assert second[-2][0] == "The second." and "Done" in second[-2][1]


def test_visitors_do_not_stop_each_other() -> None:
    holder = holding(PacedEngine(reply=lambda prompt: "A fine answer.", pace=0.05))
    run = screen.run_handler(holder, generation.SCREEN, 1)
    one, two = (run(gr.Request(session_hash=name), *TABS["generation"][2]) for name in "ab")
    next(one), next(two)
    for frames in (list(one), list(two)):
        assert frames[-2][0] == "A fine answer."


def test_a_fault_of_ours_gives_the_page_back() -> None:
    holder = holding(PacedEngine(reply=lambda prompt: 1 / 0))  # type: ignore[arg-type,return-value]
    frames = []
    with pytest.raises(ZeroDivisionError):
        for frame in handler(holder, "generation")(*TABS["generation"][2]):
            frames.append(frame)
    assert "the log says more" in frames[-1][1] and frames[-1][-1]["interactive"] is False


@pytest.mark.parametrize("task", TABS)
@pytest.mark.parametrize("text", ["", "  \n", "a\0b", "\ud800", "\x01\x02\x03", "a" * 1_000_000, None, 5])
def test_bad_texts_end_in_one_sentence_and_keep_the_page(task: str, text: Any) -> None:
    holder = holding(PacedEngine(max_context=4096))
    frames, error = [], None
    try:
        for frame in handler(holder, task)(text, *TABS[task][2][1:]):
            frames.append(frame)
    except gr.Error as raised:
        error = raised
    assert error is not None and error.duration is None and not error.print_exception
    assert error.message.count(". ") == 0 and error.message.endswith(".")
    assert all(frame[0] == KEPT for frame in frames) and frames[-1][-1]["interactive"] is False
    assert list(handler(holder, task)(*TABS[task][2])), "the next request runs"


def test_texts_on_the_line_are_never_html() -> None:
    line = screen.status_line("Done", NASTY, [NASTY])
    assert "<img" not in line and "<script" not in line and line.count("&lt;img") == 2
    assert "<img" not in screen.toast(UserError(NASTY)).message
    stopped = screen.stopped_line(screen.status_line("Writing", NASTY, kind="busy"))
    assert "Stopped" in stopped and "&lt;img" in stopped and "<img" not in stopped


def test_the_panel_never_shows_html() -> None:
    status = Status("ready", "Ready", error=NASTY, info=PacedEngine(model=NASTY, source=NASTY, notes=(NASTY,)).info)
    shown = sidebar.status_html(status)
    assert "<img" not in shown and shown.count("&lt;img") == 4


def test_the_panel_says_how_a_load_goes() -> None:
    assert "Reading 50%" in sidebar.status_html(Status("loading", "Reading", 0.5, busy=True))
    assert "Not loaded" in sidebar.status_html(Status("failed", "x", error="No such model."))


def test_the_panel_says_that_operators_are_compiled_and_then_no_more() -> None:
    holder = holding(engine := PacedEngine(compiling=True, notes=("Being compiled.",)))
    with gr.Blocks() as page:
        sidebar.build(holder, EngineConfig())
    look = next(fn.fn for fn in page.fns.values() if fn.name == "look")
    shown, clock = look()
    assert "Ready" in shown and "Being compiled." in shown and clock.value == sidebar.LOOK_S
    engine.info = replace(engine.info, compiling=False, notes=())
    shown, clock = look()
    assert "Ready" in shown and "Being compiled." not in shown and clock.value == sidebar.LOOK_READY_S


def test_a_failed_load_from_the_panel_says_so_and_keeps_the_engine() -> None:
    engines: list[Any] = [PacedEngine(model="old"), BadRequest("No such model.")]

    def opens(config: Any, on_progress: Any) -> Any:
        if isinstance(item := engines.pop(0), Exception):
            raise item
        return item

    holder = EngineHolder(opens)
    load = sidebar.reload_handler(holder, EngineConfig())
    assert "old" in list(load("old", "int8", 0, True, "auto"))[-1][0]
    shown = []
    with pytest.raises(gr.Error, match="No such model"):
        for html, button in load("no-such-model", "fp32", 0, True, "auto"):
            shown.append((html, button))
    assert "The engine of before still serves." in shown[-1][0] and shown[-1][1]["interactive"] is True
    assert holder.engine.info.model == "old"


def test_the_panel_changes_what_it_shows_and_keeps_the_rest() -> None:
    asked: list[EngineConfig] = []

    def opens(config: EngineConfig, on_progress: Any) -> Any:
        asked.append(config)
        return PacedEngine()

    first = EngineConfig("old", device="cpu", prefill="fp32", prefix_cache_mb=7, speculation=False, max_context=99)
    shown = list(sidebar.reload_handler(EngineHolder(opens), first)("new", "int4", 2, True, "int8"))
    assert asked == [replace(first, model="new", precision="int4", threads=2, kv_precision="int8")]
    assert "<dt>KV cache</dt><dd>on, fp32</dd>" in shown[-1][0]  # what the engine says, whatever was asked for


@pytest.mark.parametrize(
    "values",
    [
        ("", "int8", 0, True, "auto"),
        ("m", "int3", 0, True, "auto"),
        ("m", "int8", 1000, True, "auto"),
        ("m", "int8", 1.5, True, "auto"),
        ("m", "int8", 0, True, "int4"),
    ],
)
def test_the_panel_refuses_what_no_engine_can_be(values: tuple[Any, ...]) -> None:
    with pytest.raises(gr.Error):
        list(sidebar.reload_handler(EngineHolder(), EngineConfig())(*values))


@given(st.text(max_size=60))
def test_labels_are_split_at_commas(text: str) -> None:
    labels = classification.split_labels(text)
    assert all(label.strip() == label and label and "," not in label for label in labels)
    assert "".join(labels) == "".join(part.strip() for part in text.split(","))


@given(st.text(min_size=1, max_size=60), st.data())
def test_the_marked_pieces_are_the_context(context: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    pieces = question_answering.highlighted(context, Answer(answer=context[start:end], score=1.0, start=start, end=end))
    assert "".join(text for text, _ in pieces) == context
    assert [text for text, mark in pieces if mark] == [context[start:end]]


def test_a_long_context_is_shown_around_its_answer() -> None:
    context = "a" * 50_000 + "HERE" + "b" * 50_000
    pieces = question_answering.highlighted(context, Answer(answer="HERE", score=1.0, start=50_000, end=50_004))
    assert [mark for _, mark in pieces] == [None, "answer", None] and sum(len(text) for text, _ in pieces) < 5_000


def test_sampling_inputs_become_parameters() -> None:
    params = generation.sampling(0.5, 40, 0.9, 0.0, 1.1, 64.0, -1, "END\n\\n\\n\n")
    assert (params.seed, params.max_tokens, params.stop) == (None, 64, ("END", "\n\n"))
    assert generation.sampling(0, 0, 1, 0, 1, 1, 7, None).seed == 7
    for bad in ({"temperature": -1}, {"max_tokens": 0}, {"max_tokens": "many"}, {"top_k": 1.5}, {"seed": -2}):
        usual = {"temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0, "repetition_penalty": 1, "max_tokens": 1}
        given_values = usual | {"seed": 0, "stop": ""} | bad
        with pytest.raises(BadRequest):
            generation.sampling(*given_values.values())


@pytest.mark.parametrize("value", [True, None, "x", float("nan"), float("inf"), [1], 10**400])
def test_numbers_over_http_may_be_anything(value: Any) -> None:
    with pytest.raises(BadRequest, match="give a whole number"):
        screen.number(value, "top_k", int)
