"""The accelerated engine under every task: see `engine.engine.Engine`."""

from typing import TYPE_CHECKING

from engine.config import EngineConfig, SamplingParams
from engine.errors import BadModel, BadRequest, UserError

if TYPE_CHECKING:
    from engine.engine import Engine

__all__ = ["BadModel", "BadRequest", "Engine", "EngineConfig", "SamplingParams", "UserError"]


def __getattr__(name: str) -> object:
    """`engine.Engine` on first use: torch is imported only when a model is wanted, not for `--help`."""
    if name == "Engine":
        from engine.engine import Engine

        return Engine
    raise AttributeError(name)
