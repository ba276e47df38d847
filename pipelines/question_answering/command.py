"""`python -m pipelines answer`: the answer to a question, word for word as a text has it."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.config import EngineConfig
from pipelines import cli
from pipelines.text import check_text


@cli.with_engine_options
def answer(
    config: EngineConfig,
    question: Annotated[str, typer.Argument(help="The question.")],
    context: Annotated[
        str | None, typer.Argument(help="The text that holds the answer; - or nothing reads stdin.")
    ] = None,
    file: cli.File = None,
    top_k: Annotated[int, typer.Option(help="How many answers.")] = 1,
    no_answer_threshold: Annotated[
        float | None, typer.Option(help="0 to 1; 1 always answers.", show_default=False)
    ] = None,
    adapter: cli.Adapter = None,
    as_json: cli.Json = False,
) -> None:
    """Find the answer to a question in a text, word for word.

    Parameters
    ----------
    question, top_k, no_answer_threshold, adapter : as for `QuestionAnsweringPipeline`.
    config, context, file, as_json : what the commands of all tasks take (see `pipelines.cli`).
    """
    from pipelines.question_answering.pipeline import QuestionAnsweringPipeline
    from pipelines.question_answering.prompts import DEFAULT_THRESHOLD

    question = check_text(question, "question")
    text = cli.read_text(context, file, "context")
    pipeline = QuestionAnsweringPipeline(cli.load_engine(config), adapter=adapter)
    threshold = DEFAULT_THRESHOLD if no_answer_threshold is None else no_answer_threshold
    result = pipeline(question, text, top_k=top_k, no_answer_threshold=threshold)
    lines = [
        f"{row['score']:.3f}  {row['start']}-{row['end']}  {row['answer'] or '(not in the text)'}"
        for row in result.answers
    ]
    cli.print_result(result.to_dict(), "\n".join(lines), result.info, as_json=as_json)
