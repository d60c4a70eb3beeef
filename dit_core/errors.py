"""Errors that a user can fix. Each message is one line that says what to change."""


class BadRequest(ValueError):
    """The request is not valid. The command line exits with code 2; a page shows the message."""


class Cancelled(RuntimeError):
    """The run was cancelled between two steps."""
