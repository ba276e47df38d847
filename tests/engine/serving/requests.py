"""Requests for the scheduler, and what a fake backend answers them."""

from __future__ import annotations

from collections.abc import Generator

from engine.config import SamplingParams
from engine.results import Token
from engine.serving.request import Request
from engine.text.tokenizer import Tokenizer


def request(tokenizer: Tokenizer, prompt: list[int], most: int) -> Request:
    return Request(prompt, SamplingParams(max_tokens=most, min_tokens=most), tokenizer, 4096)


def ids(done: Request) -> list[int]:
    """Wait for a request's end and give its tokens; raises what ended it."""
    found = []
    while (event := done.events.get(timeout=10)) is not None:
        if isinstance(event, BaseException):
            raise event
        assert isinstance(event, Token)
        found.append(event.id)
    return found


def expected(last: int, most: int, vocabulary: int = 50) -> list[int]:
    found = []
    for _ in range(most):
        last = 3 + 7 * last % (vocabulary - 3)
        found.append(last)
    return found


def settled() -> Generator[None, None, None]:
    """A job that ends when what ended before it has left its slot."""
    yield
