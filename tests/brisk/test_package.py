"""`import brisk`: what it offers, and that this costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import brisk
import engine.engine


def test_it_offers_the_engine_by_the_usual_names() -> None:
    assert brisk.Engine is engine.engine.Engine
    assert brisk.shared_engine is engine.engine.shared_engine
    assert brisk.EngineConfig().precision == "int8" and brisk.SamplingParams().temperature == 0
    assert issubclass(brisk.BadModel, brisk.UserError) and issubclass(brisk.BadRequest, brisk.UserError)
    for name in brisk.__all__:
        assert getattr(brisk, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        brisk.Motor  # noqa: B018


def test_the_import_loads_no_torch() -> None:
    code = "import sys, brisk; print([n for n in ('torch', 'numba', 'gradio', 'transformers') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
