"""Threads that meet at a barrier."""

from __future__ import annotations

import numba as nb

from engine.kernels.team import team_is_whole


def test_one_thread_is_always_a_whole_team() -> None:
    assert team_is_whole(1)
    assert team_is_whole(min(2, nb.config.NUMBA_NUM_THREADS))
