"""Brisk: language-model tasks, fast on the machine you have. This package is the door to `engine` and `pipelines`.

    import brisk

    summarize = brisk.pipeline("summarization")
    summarize("A long text ...")[0]["summary_text"]

    with brisk.Engine(brisk.EngineConfig(precision="int8")) as engine:
        engine.generate("The film was", brisk.SamplingParams(max_tokens=32))[0].text

Importing it loads no torch: that comes with the first engine.
"""

from typing import TYPE_CHECKING

from brisk.calls.pipeline import pipeline
from engine.config import EngineConfig, SamplingParams
from engine.errors import BadModel, BadRequest, UserError

if TYPE_CHECKING:
    from engine.engine import Engine, shared_engine

__version__ = "0.1.0"  # the one place that says it: the distribution's metadata are read from here
__all__ = [
    "BadModel",
    "BadRequest",
    "Engine",
    "EngineConfig",
    "SamplingParams",
    "UserError",
    "__version__",
    "pipeline",
    "shared_engine",
]


def __getattr__(name: str) -> object:
    """What loads torch, on first use. AttributeError for a name that is not one of the package's."""
    if name in ("Engine", "shared_engine"):
        import engine.engine

        return getattr(engine.engine, name)
    raise AttributeError(f"module 'brisk' has no attribute '{name}'")
