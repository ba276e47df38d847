"""Operators compiled by another process: what it is told, what it leaves, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core import event

from engine.backends.native import NativeBackend
from engine.kernels import tiers
from engine.kernels.compilation import Compilation, is_kept, types_of
from engine.kernels.compiled import arguments
from tests.engine.reference import opened
from tests.tiny import make_tiny_model

NOT_THESE = (numba.int64,)  # `team.work` takes other arguments


def types_for(folder: Path, **options: Any) -> tuple[numba.types.Type, ...]:
    """What the operators of a model would be compiled for."""
    with opened(folder, kernels=False, **options) as engine:
        backend = engine._backend  # private, as is what it binds: nothing else needs either
        assert isinstance(backend, NativeBackend)
        return types_of(arguments(*backend._binding()))


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> tuple[numba.types.Type, ...]:
    return types_for(make_tiny_model(tmp_path_factory.mktemp("models") / "llama"), precision="int8", threads=1)


@pytest.mark.parametrize("precision", ["fp32", "half", "int8", "int4"])
def test_sizes_are_no_part_of_what_is_compiled_for(tmp_path: Path, precision: str) -> None:
    small = make_tiny_model(tmp_path / "small")
    large = make_tiny_model(tmp_path / "large", vocab=500, layers=3, hidden=128, max_positions=256)
    first = types_for(small, precision=precision, threads=1)
    assert types_for(large, precision=precision, threads=2, max_batch=3) == first
    assert types_for(small, precision="int8" if precision != "int8" else "int4") != first


@pytest.mark.slow
def test_a_second_model_of_the_same_types_compiles_nothing(tmp_path: Path) -> None:
    small = make_tiny_model(tmp_path / "small")
    large = make_tiny_model(tmp_path / "large", vocab=500, layers=3, hidden=128, max_positions=256)
    with opened(small, kernels=True, precision="int8") as engine:
        engine.generate("The film")
    heard = event.RecordingListener()
    with event.install_listener("numba:compile", heard), opened(large, kernels=True, precision="int8") as engine:
        assert engine.generate("The film")[0].token_ids
        assert set(engine.info.notes) <= {tiers.note()}  # but for the tier that is played, if one is
    assert not heard.buffer


def test_what_nobody_compiled_is_not_kept() -> None:
    assert not is_kept(NOT_THESE)


@pytest.mark.slow
def test_a_process_that_cannot_compile_says_why() -> None:
    compilation = Compilation(NOT_THESE)
    compilation.wait()
    with pytest.raises(RuntimeError, match=r"ended with 1: \w+"):
        compilation.check()
    compilation.close()


@pytest.mark.slow
def test_what_another_process_compiles_is_kept_for_this_one(types: tuple[numba.types.Type, ...]) -> None:
    compilation = Compilation(types)
    compilation.wait()
    compilation.check()
    compilation.close()
    assert is_kept(types)


@pytest.mark.slow
def test_it_ends_when_it_is_stopped_or_whoever_asked_has_ended(types: tuple[numba.types.Type, ...]) -> None:
    stopped, left = Compilation(types), Compilation(types)
    stopped.stop()
    stopped.wait()
    with pytest.raises(RuntimeError, match="ended with"):
        stopped.check()
    stopped.close()
    left._pipe().close()  # as the system does where this process ends
    left.wait()
    left.close()
