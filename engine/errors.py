"""The one family of errors a person may cause, each carrying one clear sentence.

Whatever a user can do wrong ends in a `UserError`: the app shows its sentence in the browser, the command
line prints it and exits with code 2. Anything else that is raised is a bug of ours and keeps its traceback.
"""


class UserError(ValueError):
    """Something the user can mend; `str(error)` is one sentence: what was wrong and what to do."""


class BadRequest(UserError):
    """A request that cannot be run: empty text, a parameter out of range, too many tokens."""


class BadModel(UserError):
    """A model that cannot be loaded: not found, damaged, of an unsafe format, unknown."""
