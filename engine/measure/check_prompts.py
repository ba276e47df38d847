"""Prompts of the identity checks: short openings, tasks on one text, and texts that repeat themselves.

The last two are what prefix reuse and speculation are for. Made from a seed, so every run checks the same hundred.
"""

from __future__ import annotations

import random

OPENINGS = (
    "The film begins with", "Once upon a time, in a small village by the sea,", "The capital of France is",
    "def fibonacci(n):", "Dear Sir or Madam,", "The three most important rules of cooking are",
    "In 1969, the first humans", "She opened the door and", "The weather today", "Q: What is the largest planet?\nA:",
    "I did not like this movie because", "The quick brown fox", "Ingredients:\n- 2 eggs\n-", "Water boils at",
    "According to the theory of evolution,", "My favourite book is", "The stock market", "To be, or not to be,",
    "Roses are red,", "Der schnelle braune Fuchs",
)  # fmt: skip

_SUBJECTS = ("The plot", "The lead actor", "The music", "Every scene in the harbour", "The old detective",
             "The ending", "The camera work", "The dialogue", "The young director", "The love story")  # fmt: skip
_VERBS = ("surprised me", "was far too long", "carried the whole film", "made me laugh", "felt borrowed",
          "deserves a second look", "never quite worked", "stayed with me for days", "was hard to follow",
          "is the best thing about it")  # fmt: skip
_TAILS = ("", " from the first minute", " in spite of everything", ", to be fair", ", and my friends agreed",
          " until the last ten minutes", ", which is rare", " more than I expected")  # fmt: skip
_TASKS = ("Summary of the review in one sentence:", "Question: What did the writer like most?\nAnswer:",
          "Did the writer enjoy the film? Yes or no:", "The review again, word for word:\n")  # fmt: skip
_THINGS = ("apples", "lamps", "tickets", "stamps", "violins", "maps", "keys", "boats", "clocks", "shoes")


def prompts(count: int, seed: int = 0) -> list[str]:
    """`count` different prompts: the openings first, then by turns four tasks on a review, and a list to go on with."""
    generator = random.Random(seed)
    found = list(OPENINGS)
    while len(found) < count:
        review = " ".join(
            f"{generator.choice(_SUBJECTS)} {generator.choice(_VERBS)}{generator.choice(_TAILS)}."
            for _ in range(generator.randint(3, 9))
        )
        found += [f"Review: {review}\n{task}" for task in _TASKS]
        thing, first = generator.choice(_THINGS), generator.randint(1, 90)
        found.append("".join(f"Box {first + i}: {generator.randint(2, 99)} {thing}\n" for i in range(5)) + "Box")
    return found[:count]
