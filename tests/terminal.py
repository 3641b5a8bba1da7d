"""How a terminal starts a command."""

import signal


def as_in_a_terminal() -> None:
    """For `preexec_fn`: the command heeds Ctrl-C and hang-ups, also where pytest runs in the background or under nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
