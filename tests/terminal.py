"""How a terminal starts a command."""

import signal


def as_in_a_terminal() -> None:
    """For `preexec_fn`: Ctrl-C and hang-ups reach the command, also if pytest is in the background or under nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
