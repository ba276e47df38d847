"""What is taken back, and by whom."""

from __future__ import annotations

import threading

import pytest

from engine.serving.cancellation import Cancellation, Cancelled, current


def test_a_part_is_cancelled_with_the_whole_and_not_the_other_way() -> None:
    whole = Cancellation()
    part, other = Cancellation(whole), Cancellation(whole)
    part.cancel()
    assert (whole.cancelled, part.cancelled, other.cancelled) == (False, True, False)
    whole.check()
    with pytest.raises(Cancelled):
        part.check()
    whole.cancel()
    assert other.cancelled


def test_it_passes_whoever_catches_errors() -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled):
        try:
            cancellation.check()
        except Exception:
            pytest.fail("a cancelled request is no error")


def test_the_innermost_scope_counts_and_it_ends() -> None:
    outer, inner = Cancellation(), Cancellation()
    assert current() not in (outer, inner) and not current().cancelled
    with outer.scope():
        with inner.scope():
            assert current() is inner
        assert current() is outer
        with pytest.raises(KeyError), inner.scope():
            raise KeyError
        assert current() is outer
    assert current() is not outer


def test_nothing_outside_of_a_scope_is_cancelled() -> None:
    current().cancel()
    assert not current().cancelled


def test_a_scope_is_of_its_thread_alone() -> None:
    cancellation, seen = Cancellation(), []
    with cancellation.scope():
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join(10)
        assert current() is cancellation
    assert seen and seen[0] is not cancellation
