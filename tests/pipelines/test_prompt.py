"""Whatever is asked about a text, its prompt begins with the same token ids up to the end of the text."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import SamplingParams
from engine.text.tokenizer import Tokenizer
from pipelines.classification.pipeline import ClassificationPipeline
from pipelines.generation.pipeline import GenerationPipeline
from pipelines.prompt import is_chat, joined, text_prompt
from pipelines.question_answering.pipeline import QuestionAnsweringPipeline
from pipelines.summarization.pipeline import SummarizationPipeline
from tests.pipelines.fake_engine import FakeEngine

TEXT = st.text(st.sampled_from("ab .!\n:-_1é漢👍<|>"), max_size=24)
INSTRUCTION = st.sampled_from(["\n\nIn a word:", "\n\nQuestion: Why?\nAnswer:", "", "s and more", "\n"])
REVIEW = (
    "I went in expecting little and left in tears. Marta Ruiz plays a night nurse who finds her lost brother in ward "
    "nine, and she is superb. The first hour is slow, but the ending is the best I have seen this year.\nIt was filmed "
    "in Lisbon in 2014. The camera stays close to faces and hands, the music comes twice, and nobody explains what we "
    "can see. "
)


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    return Tokenizer.from_folder(tiny_llama)


def with_tokenizer(tokenizer: Any) -> Any:
    engine = FakeEngine(max_context=4096)
    engine.tokenizer = tokenizer
    return engine


def ask_everything(engine: Any, text: str) -> dict[str, list[int]]:
    """Task -> the ids of its prompt on `text`, asked in this order."""
    asked: dict[str, list[int]] = {}
    params = SamplingParams(max_tokens=8, seed=0)
    for task, run in (
        ("classification", lambda: ClassificationPipeline(engine)(text)),
        ("summarization", lambda: SummarizationPipeline(engine, check=False)(text)),
        ("question answering", lambda: QuestionAnsweringPipeline(engine)("Where was it filmed?", text)),
        ("generation", lambda: GenerationPipeline(engine)(f"{text}\n\nWrite a short reply.", params=params)),
    ):
        before = len(engine.read)
        run()
        asked[task] = engine.read[before]
    return asked


def test_four_tasks_on_a_text_begin_alike(tokenizer: Tokenizer) -> None:
    engine = with_tokenizer(tokenizer)
    asked = ask_everything(engine, REVIEW.strip())
    before, _ = tokenizer.around([{"role": "user", "content": ""}])
    text = tokenizer.encode(REVIEW.strip(), add_bos=False)
    assert len(asked) == 4 and len({len(ids) for ids in asked.values()}) == 4, "four prompts that end differently"
    for task, ids in asked.items():
        assert ids[: len(before) + len(text)] == [*before, *text], task


@settings(max_examples=200, deadline=None)
@given(text=TEXT, instruction=INSTRUCTION, reply=st.sampled_from([None, "", "-"]))
def test_the_ids_up_to_the_texts_end_are_its_own(
    tokenizer: Tokenizer, text: str, instruction: str, reply: str | None
) -> None:
    engine = with_tokenizer(tokenizer)
    before, after = tokenizer.around([{"role": "user", "content": ""}])
    ids = text_prompt(engine, text, instruction, reply=reply)
    alike = [*before, *tokenizer.encode(text.strip(), add_bos=False)]
    assert ids[: len(alike)] == alike
    end = [] if reply is None else [*after, *tokenizer.encode(reply, add_bos=False)]
    shown = tokenizer.decode(ids[len(before) : len(ids) - len(end)], skip_special=False)
    assert shown == text.strip() + instruction and ids[len(ids) - len(end) :] == end


def test_a_reply_gives_what_the_chat_itself_gives(tokenizer: Tokenizer) -> None:
    engine = with_tokenizer(tokenizer)
    whole = tokenizer.chat([{"role": "user", "content": "The film was great.\n\nWhat does it say?"}])
    assert text_prompt(engine, "The film was great.", "\n\nWhat does it say?", reply="") == whole


def test_where_a_merge_would_cross_the_seam_the_text_is_encoded_apart() -> None:
    class Merging:
        """One token a character, but "ab" is one."""

        def encode(self, text: str, *, add_bos: bool | None = None) -> list[int]:
            ids = [999 if piece == "ab" else ord(piece) for piece in re.findall("ab|.", text)]
            return [7, *ids] if add_bos is None else ids

    merging: Any = Merging()
    assert joined(merging, [], "ca", "c") == [7, ord("c"), ord("a"), ord("c")]
    assert joined(merging, [], "ca", "b") == [7, ord("c"), ord("a"), ord("b")], "not 'ab', which no other task has"
    assert joined(merging, [5], "ca", "b") == [5, ord("c"), ord("a"), ord("b")], "the chat has its own beginning"


def test_models_without_a_chat_see_the_text_bare() -> None:
    base: Any = FakeEngine()
    base.tokenizer.has_chat_template = False
    assert not is_chat(base)
    assert base.tokenizer.decode(text_prompt(base, " Some text. ", "\n\nIn a word:")) == "Some text.\n\nIn a word:"
    with pytest.raises(ValueError, match="chat"):
        text_prompt(base, "Some text.", "", reply="")
    t5: Any = FakeEngine(kind="seq2seq")
    assert t5.tokenizer.decode(text_prompt(t5, "Some text.", " more")) == "Some text. more"


@pytest.fixture(scope="module")
def default_tokenizer(default_model_folder: Path) -> Iterator[Tokenizer]:
    yield Tokenizer.from_folder(default_model_folder)


@pytest.mark.model
def test_four_tasks_compute_little_more_than_one(default_tokenizer: Tokenizer) -> None:
    """On a text of 299 tokens, the mean of IMDB: at most 1.2 times the prompt tokens of one task."""

    words = (REVIEW * 5).split(" ")
    text = next(t for n in range(len(words)) if len(default_tokenizer.encode(t := " ".join(words[:n]))) >= 299)
    assert len(default_tokenizer.encode(text)) < 305
    one, four = (with_tokenizer(default_tokenizer) for _ in range(2))
    ClassificationPipeline(one)(text)
    asked = ask_everything(four, text)
    assert min(map(len, asked.values())) > 299
    assert four.computed <= 1.2 * one.computed
