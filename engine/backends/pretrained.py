"""Loads a model with Transformers: safetensors only, every weight checked, and no code of the model's own is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.utils.logging import disable_progress_bar

from engine.errors import BadModel
from engine.results import ModelKind
from engine.weights import ModelFiles, load_state

disable_progress_bar()  # loading has its own progress

_LOADERS = {
    "causal": AutoModelForCausalLM,
    "seq2seq": AutoModelForSeq2SeqLM,
    "classification": AutoModelForSequenceClassification,
    "question-answering": AutoModelForQuestionAnswering,
}


@dataclass(frozen=True)
class Pretrained:
    """Transformers' own objects for a model on the CPU."""

    model: Any
    config: Any
    tokenizer: Any


def kind_of(config: dict[str, Any]) -> ModelKind:
    """Which head a config.json describes, by its `architectures`."""
    names = " ".join(config.get("architectures") or ())
    if "SequenceClassification" in names:
        return "classification"
    if "QuestionAnswering" in names:
        return "question-answering"
    if config.get("is_encoder_decoder") or "ConditionalGeneration" in names:
        return "seq2seq"
    return "causal"


def load_pretrained(files: ModelFiles, kind: ModelKind, dtype: torch.dtype) -> Pretrained:
    """Load a model folder.

    Parameters
    ----------
    files : the model.
    kind : which head it is loaded with.
    dtype : of its weights.

    Raises
    ------
    BadModel : the files are damaged, Transformers cannot load them, or weights are missing or of a wrong shape.
    """
    load_state(files.folder)  # refuses damaged files with a sentence; Transformers then maps the same ones
    try:
        config = AutoConfig.from_pretrained(files.folder, trust_remote_code=False)
        model, report = _LOADERS[kind].from_pretrained(
            files.folder, config=config, dtype=dtype, use_safetensors=True,
            output_loading_info=True, trust_remote_code=False,
        )  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(files.folder, trust_remote_code=False)
    except (ValueError, OSError, KeyError, RuntimeError, AttributeError) as error:
        raise BadModel(f"Transformers cannot load {files.name}: {str(error).splitlines()[0]}") from error
    if wrong := sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]])):
        raise BadModel(
            f"{files.name} lacks weights its config.json asks for, or has them in a wrong shape: {wrong[0]}."
        )
    return Pretrained(model, config, tokenizer)
