"""The tasks. Each is a folder that brings everything of its own, and one line in `FOLDERS`.

A folder holds `__init__.py` with its `TASK`, `pipeline.py` (the class that does it), `results.py` (what that gives),
`tab.py` (its screen and its HTTP endpoint), `command.py` (its command line) and `imdb.py` (its evaluation). Nothing
heavy is imported here: what a task brings is named by import paths and loaded when it is asked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """One task. `pipeline`, `tab`, `run` and `evaluation` are `module:attribute` paths for `load`.

    Attributes
    ----------
    name : name of the folder, and the value of `--task`.
    title : title of the tab.
    command : name of the command, as in `python -m pipelines classify`; the HTTP endpoint is `/command`.
    pipeline : the class, called with an `engine.engine.Engine`.
    tab : the `pipelines.ui.screen.Screen` of its tab and endpoint.
    run : the function behind the command, decorated with `pipelines.cli.with_engine_options`.
    evaluation : the class that measures the task on IMDB (see `pipelines.evaluation.interface.Evaluation`).
    more : functions behind further commands, each called as its function is.
    """

    name: str
    title: str
    command: str
    pipeline: str
    tab: str
    run: str
    evaluation: str
    more: tuple[str, ...] = ()

    @classmethod
    def in_folder(cls, folder: str, title: str, command: str, pipeline: str, evaluation: str, *more: str) -> Task:
        """The task of a package that is laid out as those here are.

        Parameters
        ----------
        folder : import path of the package, which gives `__name__` here; its last part becomes the task's name.
        title, command : as in the class.
        pipeline : name of the class in its `pipeline.py`.
        evaluation : name of the class in its `imdb.py`.
        more : names of further functions in its `command.py`, each a command.

        Returns
        -------
        A task whose tab is `tab.SCREEN` and whose command is the function of that name in `command.py`.
        """
        return cls(
            name=folder.rpartition(".")[2],
            title=title,
            command=command,
            pipeline=f"{folder}.pipeline:{pipeline}",
            tab=f"{folder}.tab:SCREEN",
            run=f"{folder}.command:{command}",
            evaluation=f"{folder}.imdb:{evaluation}",
            more=tuple(f"{folder}.command:{name}" for name in more),
        )

    @property
    def commands(self) -> dict[str, str]:
        """All commands, the task's own first: name -> import path of the function."""
        return {self.command: self.run, **{path.rpartition(":")[2]: path for path in self.more}}

    @property
    def endpoint(self) -> str:
        """Path of the HTTP endpoint."""
        return f"/{self.command}"


def load(path: str) -> Any:
    """The object that a `module:attribute` path names, imported now."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


# A task is one line here, in the order of the tabs.
FOLDERS = (
    "pipelines.classification",
    "pipelines.summarization",
    "pipelines.question_answering",
    "pipelines.generation",
)

# Name -> task. `TASKS[task.name] = task` adds one of another package to the tabs, endpoints, commands and evaluations.
TASKS: dict[str, Task] = {task.name: task for task in (load(f"{folder}:TASK") for folder in FOLDERS)}
