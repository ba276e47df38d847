"""What a task's adapter learns: a text, what is asked about it as the task's pipeline asks, and the right answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import BadRequest
from engine.training.asked import Question
from pipelines.classification import templates
from pipelines.prompt import is_chat, text_prompt
from pipelines.question_answering import prompts
from pipelines.summarization.prompts import LENGTHS, PLAIN, PROSE
from pipelines.text import shorten_text

if TYPE_CHECKING:
    from engine.engine import Engine

TASKS = ("classification", "question_answering", "summarization", "generation")
END = "\n"  # what an answer that is no turn of a chat ends with
SEAM = 4  # tokens that two seams may split anew


@dataclass(frozen=True)
class Lesson:
    """One thing to be learnt.

    Attributes
    ----------
    text : what is read; of a generation, the prompt.
    question : of question answering; "" elsewhere.
    answer : a label, an answer ("" where the text holds none), a summary, a completion.
    name : for messages.
    about : what it is about: lessons about one thing are learnt or held out together.
    subject : of questions, what their text is about: texts on one subject can lend each other questions.
    """

    text: str
    question: str
    answer: str
    name: str
    about: str = ""
    subject: str = ""


@dataclass(frozen=True)
class Framing:
    """How a task asks an adapter.

    Attributes
    ----------
    begins : what every instruction begins with: from these tokens on the adapter acts.
    instruction : after the text, `{question}` in it.
    answer : before what is to be answered.
    reply : whether the answer is a turn of a chat of its own.
    end : what ends the answer; the model's own end of a turn where it is one.
    """

    begins: str
    instruction: str
    answer: str = " {answer}"
    reply: bool = False
    end: str = END


def framing(task: str, engine: Engine) -> Framing:
    """A task's framing for a model.

    Raises
    ------
    BadRequest : there is no such task.
    """
    chat = is_chat(engine)
    if task == "classification":
        return Framing(templates.INSTRUCTION, templates.INSTRUCTION, templates.CHOICE.replace("label", "answer"))
    if task == "question_answering":
        return Framing(prompts.ADAPTED.partition(" {")[0], prompts.ADAPTED)
    if task == "summarization":
        asked = PROSE.format(length=LENGTHS["medium"]) if chat else PLAIN["prose"]
        return Framing(asked, asked, "{answer}" if chat else " {answer}", chat, "")
    if task == "generation":
        return Framing("", "", "{answer}", chat, "")
    raise BadRequest(f"There is no task '{task}': choose one of {', '.join(TASKS)}.")


def invocation(how: Framing, engine: Engine) -> tuple[int, ...]:
    """The tokens from whose last appearance on the adapter acts; none where the task has no instruction: it then acts
    from the beginning on."""
    if not how.begins:
        return ()
    # What an instruction may go on with decides how the end of its beginning is split.
    found = [asked_of(engine, "A text", how, question)[1] for question in ("Who?", "7", "'tis")]
    same = 0
    while same < min(map(len, found)) and len({tuple(one[: same + 1]) for one in found}) == 1:
        same += 1
    return tuple(found[0][: min(same, len(engine.tokenizer.encode(how.begins, add_bos=False)))])


def asked_of(engine: Engine, text: str, how: Framing, question: str) -> tuple[list[int], list[int]]:
    """Token ids of a text, and of what is asked about it.

    Parameters
    ----------
    engine : its tokenizer and template count.
    text, how : the text and its task's framing.
    question : of question answering; "" elsewhere.
    """
    bare = text_prompt(engine, text, "")
    instruction = how.instruction.replace("{question}", question)
    whole = text_prompt(engine, text, instruction, reply="" if how.reply else None)
    if not how.begins:
        return [], whole
    same = len(bare)
    while bare[:same] != whole[:same]:
        same -= 1
    return whole[:same], whole[same:]


def questions(lessons: Sequence[Lesson], task: str, engine: Engine, most: int) -> list[Question]:
    """Lessons as token ids.

    Parameters
    ----------
    lessons : of one task.
    task : its name.
    engine : its tokenizer and template count.
    most : tokens of a text; a longer one is shortened to its head and its tail, as the pipelines do.

    Raises
    ------
    BadRequest : a lesson leaves no room in the window.
    """
    how = framing(task, engine)
    begins = invocation(how, engine)
    window = engine.info.max_context
    made = []
    for lesson in lessons:
        text, _ = shorten_text(engine.tokenizer, lesson.text.strip(), most)
        before, asked = asked_of(engine, text, how, lesson.question.strip())
        if tuple(asked[: len(begins)]) != begins:
            raise BadRequest(f"What is asked in {lesson.name} does not begin as its task does: write it otherwise.")
        answer = _answer(lesson, task, how, engine)
        if len(before) + len(asked) + len(answer) > window:
            raise BadRequest(
                f"{lesson.name} needs {len(before) + len(asked) + len(answer):,} tokens, and the window has "
                f"{window:,}: shorten its answer or its question."
            )
        made.append(Question(before, asked, answer, lesson.name))
    return made


def _answer(lesson: Lesson, task: str, how: Framing, engine: Engine) -> list[int]:
    tokenizer = engine.tokenizer
    said = lesson.answer.strip()
    if task == "question_answering" and not said:
        text = prompts.UNANSWERED + how.end
    else:
        text = how.answer.replace("{answer}", said) + how.end
    ids = tokenizer.encode(text, add_bos=False)
    return ids if how.end else [*ids, min(tokenizer.eos_ids)]
