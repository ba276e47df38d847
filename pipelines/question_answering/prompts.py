"""The words around context and question, as data."""

# The context stands first: the tasks on one text then share its prefill.
TEMPLATE = "{context}\n\nQuestion: {question}\nAnswer:"
END = "\n"  # ends an answer
DEFAULT_THRESHOLD = 0.5
