"""Errors that a person can mend; each message is one line that says what to change."""


class BadRequest(ValueError):
    """The request cannot be met as it stands. The command line exits with 2, a page shows the line."""


class Cancelled(RuntimeError):
    """The run was cancelled between two steps."""
