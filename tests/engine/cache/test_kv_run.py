"""Runs of keys and values: cut by position, and owning no more memory than they hold."""

from __future__ import annotations

import pytest
import torch

from engine.cache.kv_run import KVRun


def test_a_run_is_cut_by_position_and_compacted() -> None:
    keys = torch.arange(2 * 3 * 5 * 4, dtype=torch.float32).view(2, 3, 5, 4)
    scales = torch.arange(2 * 3 * 5, dtype=torch.float16).view(2, 3, 5)
    run = KVRun((keys, scales))
    assert (run.tokens, run.nbytes) == (5, 2 * 3 * 5 * (16 + 2))
    part = run[1:3]
    assert (part.tokens, part.nbytes) == (2, 2 * 3 * 2 * (16 + 2))
    assert torch.equal(part.parts[0], keys[:, :, 1:3])
    assert torch.equal(part.parts[1], scales[:, :, 1:3])
    assert part.parts[0].untyped_storage().nbytes() == keys.nbytes  # a view
    owned = part.compact()
    assert [t.untyped_storage().nbytes() for t in owned.parts] == [2 * 3 * 2 * 16, 2 * 3 * 2 * 2]
    keys.zero_()
    assert owned.parts[0].any()
    assert run[:0].tokens == 0
    with pytest.raises(ValueError, match="one after another"):
        run[::2]
