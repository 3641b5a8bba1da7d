"""The one exception that means "the input is at fault": the command line prints it and exits with code 2."""


class UserError(Exception):
    """Bad input: the message names the thing, says what is wrong with it and what to do about it."""
