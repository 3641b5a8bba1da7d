"""Runs one command in a process group of its own, and ends the whole group when whoever asked for it is gone.

Started by `processes`, as a script and with the standard library alone: `guard.py PIPE COMMAND...`. PIPE is the reading
end of a pipe that nothing is ever written to: it closes when its other end's holder closes it or dies, also of SIGKILL.
"""

import contextlib
import os
import signal
import sys
import threading
import time

GRACE_SECONDS = 1.0
"""Between asking a group to end, so that its programs remove their temporary files, and ending it."""
NOT_STARTED = 127
SIGNALLED = 128
"""Added to the number of the signal that ended the command."""


def main() -> None:
    pipe, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(pipe, False)
    reset = [signal.SIGPIPE, signal.SIGINT]
    try:
        child = os.posix_spawnp(command[0], command, os.environ, setpgroup=0, setsigdef=reset)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)
        sys.exit(NOT_STARTED)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: _end(child))
    threading.Thread(target=_watch, args=(pipe, child), daemon=True).start()
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # still a zombie, so that its number is nobody else's
    _kill(child, signal.SIGKILL)  # what it has left running
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.stdout.flush()
    os._exit(SIGNALLED - code if code < 0 else code)


def _watch(pipe: int, child: int) -> None:
    os.read(pipe, 1)
    _end(child)


def _end(child: int) -> None:
    _kill(child, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    _kill(child, signal.SIGKILL)
    os._exit(SIGNALLED + signal.SIGKILL)


def _kill(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left in it; macOS says so of zombies
        os.killpg(group, number)


if __name__ == "__main__":
    main()
