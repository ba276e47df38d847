"""A task's adapter: the folder that the engine reads, and what its training noted for the task's pipeline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BadModel, BadRequest

NOTED = "brisk"  # the entry of adapter_config.json that `brisk train-adapter` writes


@dataclass(frozen=True)
class TaskAdapter:
    """An adapter as a pipeline takes it.

    Attributes
    ----------
    folder : as PEFT saves it.
    task : that it learnt; "" where nothing is noted, as of one trained elsewhere.
    labels : of a classification, in the order of training.
    """

    folder: Path
    task: str = ""
    labels: tuple[str, ...] = ()


def read_adapter(folder: str | Path | None, task: str) -> TaskAdapter | None:
    """What is noted of an adapter; None for none.

    Parameters
    ----------
    folder : as PEFT saves it.
    task : the task that wants it.

    Raises
    ------
    BadModel : there is no adapter in the folder.
    BadRequest : it learnt another task.
    """
    if folder is None:
        return None
    folder = Path(folder)
    file = folder / "adapter_config.json"
    try:
        noted: Any = json.loads(file.read_text(encoding="utf-8")).get(NOTED) or {}
        found = TaskAdapter(folder, str(noted.get("task", "")), tuple(map(str, noted.get("labels", ()))))
    except OSError as error:
        reason = error.strerror or error
        raise BadModel(f"{folder} is no adapter: there is no adapter_config.json in it ({reason}).") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BadModel(f"{file} cannot be read: it is not JSON as PEFT and Brisk write it.") from error
    if found.task and found.task != task:
        raise BadRequest(f"The adapter {folder} has learnt {found.task}: give it to that task.")
    return found


def folder_of(adapter: TaskAdapter | None) -> Path | None:
    """What the engine is given."""
    return None if adapter is None else adapter.folder
