"""The instruction that turns classification into continuation, as data.

Chosen on seeded samples of IMDB train reviews, never on test, among 40 wordings: raw continuations order the reviews
far better than questions to the chat model do, and this one works as it is for topics, moods and kinds of text. On 90
train reviews (int8) it orders them alike after the bare text (AUC 0.90 [0.82, 0.96]) and inside the user's turn of a
chat (0.91 [0.83, 0.97]; calibrated accuracy 82 % and 80 %), and worse in the model's own turn (0.80 [0.69, 0.89]): so
it stands in the user's turn, which summaries and answers share.
`python -m pipelines.evaluation --task classification --split train` measures it again.
"""

from __future__ import annotations

# After the text, inside the user's turn of a chat model (see `pipelines.prompt`): the model writes on.
INSTRUCTION = "\n\nIn a word:"
CHOICE = " {label}"

# Zhao et al. 2021, "Calibrate Before Use": inputs that say nothing show what the model prefers before it reads.
CONTENT_FREE = ("N/A", "", "[MASK]")
