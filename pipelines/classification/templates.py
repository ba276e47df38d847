"""The words that turn classification into continuation, as data.

Chosen on seeded samples of IMDB train reviews, never on test, among 40 wordings: raw continuations order the reviews
far better than questions to the chat model do, and this one works as it is for topics, moods and kinds of text.
`python -m pipelines.evaluation --task classification --split train` measures it again.
"""

from __future__ import annotations

# After the text, inside the user's turn of a chat model (see `pipelines.prompt`): the model writes on.
WORDS = "\n\nIn a word:"
CHOICE = " {label}"

# Zhao et al. 2021, "Calibrate Before Use": inputs that say nothing show what the model prefers before it reads.
CONTENT_FREE = ("N/A", "", "[MASK]")
