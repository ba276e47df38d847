"""The instruction after a context, as data. docs/prompts.md has what it was chosen among.

A small instruct model answers in sentences of its own. Two examples that every text can answer about itself show it
what an answer looks like; no example comes from outside the text.
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
# What a question that the text cannot answer leaves to the spans of the text: parts questions about the text from those
# about another with AUC 0.92 (n = 60), and not those that are made to mislead (0.51, n = 15).
UNANSWERED_MASS = 0.02
DEFAULT_THRESHOLD = 0.5

# An adapter needs no examples: it has learnt what an answer looks like, and what to say where the text holds none.
ADAPTED = "\n\nQuestion: {question}\nAnswer:"
UNANSWERED = " not in the text"
