"""The screen of text generation, and its endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from engine.config import SamplingParams
from pipelines.generation import TASK
from pipelines.generation.pipeline import DEFAULT_PRESET, PRESETS
from pipelines.generation.results import GenerationResult, GenerationUpdate
from pipelines.ui import screen
from pipelines.ui.screen import Example, Screen

if TYPE_CHECKING:
    from pipelines.generation.pipeline import GenerationPipeline

MODES = [("Chat", "chat"), ("Continue", "continue")]
RANDOM_SEED = -1


def preset_values(name: str) -> tuple[Any, ...]:
    """The values of a preset in the order of the sampling inputs."""
    params = PRESETS[name]
    return (
        params.temperature, params.top_k, params.top_p, params.min_p, params.repetition_penalty, params.max_tokens,
        RANDOM_SEED, "",
    )  # fmt: skip


def _example(label: str, prompt: str, mode: str, preset: str, system: str = "") -> Example:
    return Example(label, (prompt, mode, system, preset, *preset_values(preset)))


EXAMPLES = (
    _example(
        "Explain a thing", "Why is the sky blue? Explain it to a ten-year-old in four sentences.", "chat", "Balanced"
    ),
    _example("Write a reply", "Write a short, friendly reply to a customer whose parcel is late.", "chat", "Balanced"),
    _example(
        "Continue a story", "The lighthouse had been dark for eleven years when, one night in March,", "continue",
        "Creative",
    ),
    _example(
        "A list, always the same", "List five things to pack for a weekend in the mountains.", "chat", "Deterministic"
    ),
    _example("Speak like a pirate", "How do I make a cup of tea?", "chat", "Creative", "You are a cheerful pirate."),
)  # fmt: skip


def sampling(
    temperature: Any, top_k: Any, top_p: Any, min_p: Any, repetition_penalty: Any, max_tokens: Any, seed: Any, stop: Any
) -> SamplingParams:
    """Sampling parameters from what inputs or HTTP gave, which may be anything.

    Parameters
    ----------
    temperature, top_k, top_p, min_p, repetition_penalty, max_tokens : as in `engine.config.SamplingParams`.
    seed : a whole number; `RANDOM_SEED` draws one.
    stop : stop strings, one a line ("\\n" written so is a line end), or a list of them.

    Raises
    ------
    BadRequest : a value is no number, or out of range.
    """
    lines = stop if isinstance(stop, list) else str(stop or "").splitlines()
    drawn = screen.number(seed, "seed", int)
    return SamplingParams(
        max_tokens=screen.number(max_tokens, "max_tokens", int),
        temperature=screen.number(temperature, "temperature", float),
        top_k=screen.number(top_k, "top_k", int),
        top_p=screen.number(top_p, "top_p", float),
        min_p=screen.number(min_p, "min_p", float),
        repetition_penalty=screen.number(repetition_penalty, "repetition_penalty", float),
        seed=None if drawn == RANDOM_SEED else drawn,
        stop=tuple(str(line).replace("\\n", "\n") for line in lines if line),
    )


def start(
    pipeline: GenerationPipeline, prompt: str, mode: str, system: str, preset: str, *values: Any
) -> Iterator[GenerationUpdate]:
    """Runs the pipeline.

    Parameters
    ----------
    pipeline : the task's.
    prompt, mode, system : as for `generate`.
    preset : a name in `PRESETS`, whose values the inputs have taken over already.
    values : the sampling inputs, in the order of `sampling`.
    """
    return pipeline.stream(prompt, mode=mode, params=sampling(*values), system=system or "")  # type: ignore[arg-type]


def show(update: GenerationUpdate, *values: Any) -> tuple[list[Any], str]:
    if update.info.timing.finish_reason:
        return [update.generated_text], screen.done_line(update.info, f"seed {update.seed}")
    return [update.generated_text], screen.status_line("Writing", update.info.line(), kind="busy")


def _slider(field: str, low: float, high: float, step: float, label: str) -> gr.Slider:
    """A slider for a field of SamplingParams, at the value of the default preset."""
    value = getattr(PRESETS[DEFAULT_PRESET], field)
    return gr.Slider(
        low, high, value=value, step=step, label=label, min_width=130,
        elem_id=f"{TASK.name}-{field.replace('_', '-')}",
    )  # fmt: skip


def inputs() -> list[Component]:
    prompt = screen.text_input(TASK, "Prompt", "Ask something, or begin a text", 6, 14)
    with gr.Row():
        mode = gr.Radio(MODES, value="chat", label="Mode", min_width=190)
        preset = gr.Dropdown(
            list(PRESETS), value=DEFAULT_PRESET, label="Preset", min_width=120, elem_id=f"{TASK.name}-preset"
        )
    with gr.Accordion("Sampling and system prompt", open=False):
        system = gr.Textbox(
            label="System prompt (chat only; empty keeps the model's own)", lines=1, max_lines=4,
            elem_id=f"{TASK.name}-system",
        )  # fmt: skip
        gr.HTML(
            '<p class="brisk-intro">Temperature 0 is greedy; top-k 0, top-p 1 and min-p 0 are off; seed -1 '
            "draws one.</p>"
        )
        with gr.Row():
            temperature = _slider("temperature", 0, 2, 0.05, "Temperature")
            max_tokens = _slider("max_tokens", 1, 2048, 1, "Max tokens")
        with gr.Row():
            top_p = _slider("top_p", 0.05, 1, 0.05, "Top-p")
            min_p = _slider("min_p", 0, 1, 0.01, "Min-p")
        with gr.Row():
            top_k = _slider("top_k", 0, 200, 1, "Top-k")
            penalty = _slider("repetition_penalty", 1, 2, 0.05, "Repetition penalty")
        with gr.Row():
            seed = gr.Number(RANDOM_SEED, precision=0, label="Seed", min_width=130)
            stop_strings = gr.Textbox(label="Stop strings, one a line", lines=1, max_lines=4, min_width=130)
        reset = gr.Button("Reset to the preset", size="sm")
    numbers = [temperature, top_k, top_p, min_p, penalty, max_tokens, seed, stop_strings]
    gr.on(
        [preset.input, reset.click], preset_values, [preset], numbers, queue=False, show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    return [prompt, mode, system, preset, *numbers]


def outputs() -> list[Component]:
    return [screen.text_output(TASK, "Text", 12, 20)]


_DEFAULT = PRESETS[DEFAULT_PRESET]


def generate(
    prompt: str,
    mode: str = "chat",
    system: str = "",
    max_tokens: int = _DEFAULT.max_tokens,
    temperature: float = _DEFAULT.temperature,
    top_k: int = _DEFAULT.top_k,
    top_p: float = _DEFAULT.top_p,
    min_p: float = _DEFAULT.min_p,
    repetition_penalty: float = _DEFAULT.repetition_penalty,
    seed: int = RANDOM_SEED,
    stop: str = "",
) -> Callable[[Any], Iterable[dict[str, Any]]]:
    """Answer a prompt or continue it: {generated_text, details: {finish_reason, generated_tokens, prompt_tokens, seed},
    timing}. While it runs, {generated_text} is the text so far.

    Parameters
    ----------
    prompt : what to answer or to continue.
    mode : chat or continue.
    system : instruction before the chat; empty keeps the model's own.
    max_tokens : most tokens to write.
    temperature : 0 is greedy.
    top_k : keep the k most likely tokens; 0 keeps all.
    top_p : keep the most likely tokens with this much probability together.
    min_p : drop tokens less likely than this share of the most likely one.
    repetition_penalty : above 1 makes repetition less likely.
    seed : repeats a draw; -1 draws a new one.
    stop : strings that end the text, one a line.
    """
    params = sampling(temperature, top_k, top_p, min_p, repetition_penalty, max_tokens, seed, stop)

    def run(pipeline: GenerationPipeline) -> Iterator[dict[str, Any]]:
        with closing(pipeline.stream(prompt, mode=mode, params=params, system=str(system or ""))) as updates:  # type: ignore[arg-type,type-var]
            update = None
            for update in updates:
                yield {"generated_text": update.generated_text}
            assert update is not None, "a stream gives at least one update"
            timing = update.info.timing
            yield GenerationResult(
                update.generated_text, timing.prompt_tokens, timing.new_tokens, update.seed, update.info
            ).to_dict()

    return run


SCREEN = Screen(
    TASK, "Answers a prompt, or writes on from it, as fast as the machine allows.",
    inputs=inputs, outputs=outputs, start=start, show=show, examples=EXAMPLES, endpoint=generate, copies=True,
)  # fmt: skip
