"""The instruction that turns classification into continuation, as data. docs/prompts.md has what it was chosen among.

A small model orders texts better by how it writes on than by how it answers a question. The instruction stands in the
user's turn of a chat, so that classification shares the prefill of a text with summaries and answers.
"""

from __future__ import annotations

# After the text, inside the user's turn of a chat model (see `pipelines.prompt`): the model writes on.
INSTRUCTION = "\n\nIn a word:"
CHOICE = " {label}"

# Zhao et al. 2021, "Calibrate Before Use": inputs that say nothing show what the model prefers before it reads.
CONTENT_FREE = ("N/A", "", "[MASK]")
