"""Losses: what training makes small. Each is the mean over a batch, in nats where it is one of probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

IGNORED = -100  # a target that counts for nothing, as torch and Transformers have it


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-log p of what is right, p = softmax(logits).

    Parameters
    ----------
    logits : float [N, C].
    targets : int64 [N], the right class of each row, `IGNORED` for a row that counts for nothing; or float [N, C],
        soft targets whose rows each sum to 1.

    Returns
    -------
    A scalar: the mean over the rows that count; NaN where none does, as torch has it.
    """
    log_p = logits - logits.logsumexp(-1, keepdim=True)
    if targets.is_floating_point():
        return -(targets * log_p).sum(-1).mean()
    counts = targets != IGNORED
    right = log_p.gather(-1, targets.clamp(min=0)[:, None])[:, 0]
    return -torch.where(counts, right, 0).sum() / counts.sum()


def squared_error(found: Tensor, wanted: Tensor) -> Tensor:
    """The mean of (found - wanted)^2 over all elements; both float of one shape."""
    return ((found - wanted) ** 2).mean()


def distillation(
    logits: Tensor, teacher: Tensor, targets: Tensor | None = None, temperature: float = 1.0, soft: float = 1.0
) -> Tensor:
    """What a student loses against its teacher's softened probabilities, and against hard labels where there are some.

    Of a row with a label it is soft T^2 KL(softmax(teacher / T) || softmax(logits / T)) + (1 - soft) cross-entropy,
    after Hinton, Vinyals and Dean 2015; of one without, the first term alone, unweighted. T^2 keeps the gradients of
    that term as large as at T = 1.

    Parameters
    ----------
    logits, teacher : float [N, C], of the student and of the teacher; no gradient goes to the latter.
    targets : int64 [N], the right class of each row, `IGNORED` for one without a label; None where none has one.
    temperature : T, above 0: above 1 it shows more of what the teacher thinks of the wrong classes.
    soft : weight of the teacher beside a label, 0 to 1.

    Returns
    -------
    A scalar: the mean over all rows.
    """
    wanted = torch.log_softmax(teacher.detach() / temperature, -1)
    log_p = torch.log_softmax(logits / temperature, -1)
    divergence = (wanted.exp() * (wanted - log_p)).sum(-1) * temperature**2
    if targets is None:
        return divergence.mean()
    counts = targets != IGNORED
    hard = -torch.log_softmax(logits, -1).gather(-1, targets.clamp(min=0)[:, None])[:, 0]
    return torch.where(counts, soft * divergence + (1 - soft) * hard, divergence).mean()
