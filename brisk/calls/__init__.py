"""The tasks in the shapes that Transformers 4's `pipeline` had: argument names, keys, a list in and a list out.

One module a task. Each says in its docstring where it differs; an argument that cannot be honoured is refused in one
sentence.
"""
