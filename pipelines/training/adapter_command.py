"""`brisk train-adapter`: teach the loaded model a task, from a file of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.config import EngineConfig
from engine.errors import BadRequest
from pipelines import cli
from pipelines.training.lessons import TASKS


@cli.with_engine_options
def train_adapter(
    config: EngineConfig,
    task: Annotated[str, typer.Option(help=f"{', '.join(TASKS)}.")],
    data: Annotated[str, typer.Option(help="A .csv, .jsonl or .parquet file; imdb for classification.")],
    output: Annotated[Path, typer.Option(help="The folder of the adapter.")] = Path("adapter"),
    column: Annotated[
        list[str] | None, typer.Option(help="name=theirs where the file calls a column otherwise.", show_default=False)
    ] = None,
    rows: Annotated[int, typer.Option(help="So many rows; 0: all.")] = 0,
    unanswerable: Annotated[bool, typer.Option(help="Questions: make up some that a text does not answer.")] = True,
    ratings: Annotated[int, typer.Option(help="Questions: so many reviews of IMDB are asked for their rating.")] = 0,
    leave_out: Annotated[
        Path | None, typer.Option(help="Contrast pairs whose originals of IMDB are left out.", show_default=False)
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="name=value of the training; 'help' lists.", show_default=False)
    ] = None,
) -> None:
    """Teach the model a task, and say what it gained on rows held out.

    The text is read by the bare model and shared by all tasks; the adapter, LoRA in PEFT's format, acts from the
    instruction on. The same command goes on where it was interrupted.

    Parameters
    ----------
    task, data, column, rows : what is learnt.
    unanswerable, ratings : lessons that are made up, see `pipelines.training.unanswered` and `imdb.rating_lessons`.
    leave_out : for `imdb`.
    output : the adapter's folder.
    changes : "name=value" of `AdapterOptions`.
    config : the engine; its model is what learns, in fp32 behind what this precision reads.
    """
    from engine.measure.command import say
    from engine.training.log import Log
    from pipelines.training.adapter import AdapterOptions, train_adapter
    from pipelines.training.adapter_report import compare
    from pipelines.training.lesson_rows import read_lessons, renamed
    from pipelines.training.options import changed, listed

    options = AdapterOptions(task)
    if "help" in (changes or []):
        for line in listed(options):
            print(line, flush=True)
        return
    options = changed(options, changes or [])
    if options.task != task:
        raise BadRequest(f"--task says {task} and --set task={options.task}: leave the latter out.")
    if rows < 0 or ratings < 0:
        raise BadRequest("--rows and --ratings take 0 or more.")
    if task != "question_answering" and ratings:
        raise BadRequest("--ratings is for question_answering.")
    source = data
    if data == "imdb":
        from pipelines.training.imdb import imdb_lessons

        if task != "classification":
            raise BadRequest(f"imdb has labels alone, and the task is {task}: name a file.")
        lessons, source = imdb_lessons(rows, options.seed, leave_out)
    else:
        lessons = read_lessons(Path(data), task, renamed(column or [], task))[: rows or None]
    if task == "question_answering" and unanswerable:
        from pipelines.training.unanswered import unanswered

        made = unanswered(lessons, options.seed)
        lessons, source = [*lessons, *made], f"{source} and {len(made):,} questions made up"
    if ratings:
        from pipelines.training.imdb import rating_lessons

        lessons = [*lessons, *rating_lessons(ratings, options.seed)]
        source += f" and {ratings:,} reviews of IMDB train asked for their rating"
    with cli.load_engine(config) as engine:
        log = Log(say)
        try:
            trained = train_adapter(engine, lessons, options, output, log, source)
        finally:
            log.close()
        say(f"Trained in {trained.minutes:.1f} minutes. On the {len(trained.tested):,} rows held out:")
        for line in compare(engine, trained, task):
            say(line)
    print(output, flush=True)
