"""Word n-grams as buckets: the same everywhere, each once, and few that share one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.classification import ngrams
from pipelines.classification.ngrams import buckets, words


def test_words_and_signs() -> None:
    assert words("It's NOT bad -- 10/10!") == ["it's", "not", "bad", "-", "-", "10", "/", "10", "!"]
    assert words("Größe 東京 ") == ["größe", "東京"]


def test_a_text_has_its_one_two_and_three_grams() -> None:
    assert len(buckets("a b c d", 30)) == 4 + 3 + 2
    assert len(buckets("a a a", 30)) == 3, "each once"
    assert len(buckets("a", 30)) == 1 and len(buckets("a b", 30)) == 3
    assert not len(buckets("  \n", 30))


def test_order_counts_and_the_rest_of_the_text_does_not() -> None:
    alone = set(buckets("not good", 30))
    assert alone <= set(buckets("the end was not good at all", 30))
    assert alone != set(buckets("good not", 30))


@given(st.text(max_size=80), st.integers(4, 24))
def test_any_text_has_buckets_in_range(text: str, bits: int) -> None:
    found = buckets(text, bits)
    assert found.dtype == np.int64 and (np.diff(found) > 0).all()
    assert len(found) == 0 or (found[0] >= 0 and found[-1] < 1 << bits)


def test_another_process_has_the_same() -> None:
    script = "from pipelines.classification.ngrams import buckets; print(buckets('A fine film, not bad.', 22).tolist())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == str(buckets("A fine film, not bad.", 22).tolist())


def test_buckets_are_filled_evenly() -> None:
    """20,000 different words in 65,536 buckets: as many are used as chance has it."""
    found = np.concatenate([buckets(f"word{i}", 16) for i in range(20_000)])
    expected = 65_536 * (1 - np.exp(-20_000 / 65_536))
    assert abs(len(np.unique(found)) - expected) < 0.01 * expected


def test_words_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "_known", {})
    monkeypatch.setattr(ngrams, "MOST_WORDS", 3)
    first = buckets("one two three four five", 20)
    assert len(ngrams._known) == 3
    assert np.array_equal(first, buckets("one two three four five", 20))
