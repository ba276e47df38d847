"""Products of fp32 prompts by oneDNN instead of torch's own.

torch hands them to MKL, which keeps to a narrower path on AMD's processors: on two cores of an EPYC (Zen 5) oneDNN does
450 to 530 GFLOP/s where `F.linear` does 200 to 230, and an fp32 prompt of 300 tokens is read 1.7 times as fast. The
operator is the one torch's own compiler calls; where a torch lacks it, `F.linear` stays, and the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_ROWS = 16  # fewer gain nothing

log = logging.getLogger(__name__)
Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""What multiplies x by a weight and adds a bias, as `F.linear` and `linear` do."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer: as `F.linear`, rounded in another order.

    Parameters
    ----------
    x : [N, columns]; oneDNN serves f32 on the CPU from LEAST_ROWS rows on, torch the rest.
    weight : [rows, columns].
    bias : [rows], or None.

    Returns
    -------
    [N, rows] in the dtype of x.
    """
    if x.dtype != torch.float32 or x.device.type != "cpu" or x.shape[0] < LEAST_ROWS:
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@lru_cache(maxsize=1)
def fastest() -> Product:
    """`linear` where this torch has oneDNN's operator, else `F.linear`."""
    try:
        x = torch.ones(LEAST_ROWS, 4)
        if torch.equal(linear(x, torch.ones(2, 4), torch.ones(2)), torch.full((LEAST_ROWS, 2), 5.0)):
            return linear
        reason = "its result is wrong"
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0]
    log.warning("fp32 prompts are read by torch's own products: oneDNN's cannot be used here (%s)", reason)
    return F.linear
