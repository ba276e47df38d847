"""What a Transformer learns to make small, and what it reaches on texts that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from engine.training import losses
from engine.training.adapted import Adapted
from engine.training.asked import Asked, AskedBatch
from engine.training.data import Batch, Labelled, Packed, pack
from engine.training.loop import Measured, Validation
from engine.training.transformer import Transformer
from engine.training.vocabulary import END_ID
from pipelines.training.options import Distillation


def classification(model: Transformer) -> Callable[[Batch], Measured]:
    """The loop's objective of labelled texts: cross-entropy over the classes."""

    def objective(batch: Batch) -> Measured:
        logits = model(batch.ids, batch.lengths).float()
        return Measured(
            losses.cross_entropy(logits, batch.targets),
            len(batch.targets),
            int((logits.argmax(-1) == batch.targets).sum()),
        )

    return objective


def taught_by_a_teacher(model: Transformer, how: Distillation) -> Callable[[Batch], Measured]:
    """The loop's objective of texts with a teacher's logits, and labels where there are some."""

    def objective(batch: Batch) -> Measured:
        logits = model(batch.ids, batch.lengths).float()
        assert batch.teacher is not None
        loss = losses.distillation(logits, batch.teacher, batch.targets, how.temperature, how.soft)
        # Right is what the teacher says: not every text has a label.
        return Measured(loss, len(batch.targets), int((logits.argmax(-1) == batch.teacher.argmax(-1)).sum()))

    return objective


def language_model(model: Transformer) -> Callable[[Batch], Measured]:
    """The loop's objective of packed windows: cross-entropy over the next token. It takes torch's own, which needs no
    second copy of the logits; ours gives the same."""

    def objective(batch: Batch) -> Measured:
        logits = model(batch.ids, batch.lengths).flatten(0, 1).float()  # [B L, V]
        targets = batch.targets.flatten()
        loss = functional.cross_entropy(logits, targets, ignore_index=losses.IGNORED)
        return Measured(loss, int((targets != losses.IGNORED).sum()), None)

    return objective


def answering(model: Adapted) -> Callable[[AskedBatch], Measured]:
    """The loop's objective of questions: cross-entropy over the answers' tokens. Right are those that would be
    written."""

    def objective(batch: AskedBatch) -> Measured:
        said = batch.targets != losses.IGNORED
        logits = model.logits(model.hidden(batch.ids, batch.lengths, batch.past)[said])
        targets = batch.targets[said]
        right = int((logits.argmax(-1) == targets).sum())
        return Measured(functional.cross_entropy(logits, targets), len(targets), right)

    return objective


@torch.inference_mode()
def measure(objective: Callable[[Any], Measured], data: Labelled | Packed | Asked) -> Validation:
    """Mean loss in nats a target, and the share that is right."""
    loss = count = right = 0.0
    counts_right = False
    for rows in data.in_order():
        found = objective(data.batch(rows))
        loss += float(found.loss) * found.targets
        count += found.targets
        counts_right = found.right is not None
        right += found.right or 0
    return Validation(loss / count, right / count if counts_right else None)


@torch.inference_mode()
def predict(model: Transformer, ids: Sequence[np.ndarray], size: int = 32) -> np.ndarray:
    """Probabilities f32 [n, labels] of texts, in their order.

    Parameters
    ----------
    model : with a classification head, in evaluation mode.
    ids : token ids of each text, at least one.
    size : texts a batch.
    """
    data = Labelled(ids, np.zeros(len(ids), np.int64), [str(i) for i in range(len(ids))], size)
    out = np.zeros((len(ids), model.sizes.labels), np.float32)
    for rows in data.in_order():
        batch = data.batch(rows)
        out[rows] = model(batch.ids, batch.lengths).softmax(-1).numpy()
    return out


def bits_a_byte(model: Transformer, ids: Sequence[np.ndarray], texts: Sequence[str], size: int = 32) -> float:
    """What a language model needs to write texts down, in bits for a byte of their UTF-8.

    Parameters
    ----------
    model : causal, in evaluation mode.
    ids, texts : the texts, as tokens and as they are; the cost of the token between two counts too.
    size : windows a batch.
    """
    data = Packed(pack(ids, END_ID), model.sizes.context, size)
    nats = measure(language_model(model), data).loss * (len(data.stream) - 1)
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)
