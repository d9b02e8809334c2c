"""Mistakes that a user can mend: the shell prints their one sentence and no traceback."""


class UserError(ValueError):
    """Names the offending value, the allowed ones and the remedy."""


class OptionsError(UserError, AssertionError):
    """Options that exclude each other (an AssertionError too, as SB3's own checks are)."""


class MissingExtraError(UserError, ImportError):
    """Something needs an optional dependency; the sentence names the extra to install."""


class EnvironmentFault(UserError, RuntimeError):
    """An environment raised, hung up, or returned something that is not a number."""


class FileFault(UserError, OSError):
    """A file is missing, incomplete, corrupted, from a newer version, or cannot be written."""
