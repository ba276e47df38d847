"""The instruction after a context, as data.

Chosen on answerable SQuAD 2.0 questions of half of its titles (an even crc32), with the default model in int8: the
plain question gave F1 0.08 (n = 28), since a small instruct model answers in sentences of its own. Two examples that
every text can answer about itself show it what an answer looks like; no example comes from outside the text. On 60
questions they gave 0.44 after the bare text and 0.48 inside the user's turn of a chat. Without the line "Answer each
question with words from the text." above them, it is 0.50 [0.39, 0.62] (against the bare text +0.07 [+0.01, +0.13],
paired bootstrap), at ten tokens less. One example alone gave 0.35, and answers in the model's own turn 0.17 (n = 28).
"""

# After the context, inside the user's turn of a chat model (see `pipelines.prompt`): the model writes on.
INSTRUCTION = (
    "\n\nQuestion: How does the text begin?\nAnswer: {first}\n"
    "Question: How does the text end?\nAnswer: {last}\n"
    "Question: {question}\nAnswer:"
)
SHOWN_WORDS = 3  # of the text, in each of the two examples
SHOWN_TOKENS = 24  # at most, whatever the words are made of
END = "\n"  # ends an answer
# What a question that the text cannot answer leaves to the spans of the text: with 30 questions of the same rows about
# their own text and 30 about another's, 0.02 parts them best (90 % answered, 83 % refused; AUC 0.92). It does not see
# through questions made to mislead, such as SQuAD's unanswerable ones (AUC 0.51, n = 15).
UNANSWERED_MASS = 0.02
DEFAULT_THRESHOLD = 0.5
