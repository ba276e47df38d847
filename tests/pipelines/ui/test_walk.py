"""How many of our files a click on Generate walks through, from its handler to the last token."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import gradio as gr
import pytest

import pipelines
from engine.config import EngineConfig
from engine.engine import shared_engine
from pipelines.generation import tab
from pipelines.ui.holder import EngineHolder
from pipelines.ui.screen import run_handler

MOST = 25
ROOT = Path(pipelines.__file__).parents[1]


class Walk:
    """The files of ours that are entered, on any thread begun inside, while `on`."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}  # the first function entered of each
        self.on = False

    def _look(self, frame: FrameType, event: str, argument: object) -> None:
        if self.on and event == "call":
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in ("brisk", "engine", "pipelines"):
                self.files.setdefault(str(path.relative_to(ROOT)), frame.f_code.co_name)

    @contextmanager
    def watching(self) -> Iterator[None]:
        before = sys.getprofile()
        threading.setprofile(self._look)
        sys.setprofile(self._look)
        try:
            yield
        finally:
            sys.setprofile(before)
            threading.setprofile(None)


@pytest.mark.model
def test_a_click_on_generate_walks_through_few_files(default_model_folder: Path) -> None:
    values = list(tab.EXAMPLES[0].values)
    values[9] = 12  # tokens
    walk = Walk()
    with walk.watching():
        holder = EngineHolder(shared_engine)  # which waits for the compiled operators
        status = list(holder.reload(EngineConfig(str(default_model_folder), prefill="int8")))[-1]
        assert status.phase == "ready", status.error
        click = run_handler(holder, tab.SCREEN, 1)
        walk.on = True
        *_, last, _ = click(gr.Request(session_hash="visitor"), *values)
        walk.on = False
        holder.close()
    assert "12 tokens" in last[1]
    listed = "\n".join(f"{number:2} {name}: {first}" for number, (name, first) in enumerate(walk.files.items(), 1))
    print(listed)
    assert len(walk.files) <= MOST, f"A click walks through {len(walk.files)} files:\n{listed}"
