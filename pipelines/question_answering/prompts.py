"""The words around context and question, as data.

Chosen on SQuAD 2.0 questions of half of its titles (an even crc32), 100 with and 100 without an answer: the plain
question gave F1 0.08, since a small instruct model answers in sentences of its own. Two examples that every text can
answer about itself show it what an answer looks like, and gave 0.41; no example comes from outside the text.
"""

# After the context, inside the user's turn of a chat model (see `pipelines.prompt`): the model writes on.
WORDS = (
    "\n\nAnswer each question with words from the text.\n"
    "Question: How does the text begin?\nAnswer: {first}\n"
    "Question: How does the text end?\nAnswer: {last}\n"
    "Question: {question}\nAnswer:"
)
SHOWN_WORDS = 3  # of the text, in each of the two examples
SHOWN_TOKENS = 24  # at most, whatever the words are made of
END = "\n"  # ends an answer
# What a question that the text cannot answer leaves to the spans of the text: with 40 questions of the same rows about
# their own text and 40 about another's, 0.05 parts them best (AUC 0.91). It does not see through questions made to
# mislead, such as SQuAD's unanswerable ones (AUC 0.54).
UNANSWERED_MASS = 0.05
DEFAULT_THRESHOLD = 0.5
