"""Runs `cgap` again and again in forks of one process that has imported everything, so that the time goes into work.

Reads requests from standard input, a JSON object a line: arguments, cwd, variables, log. Answers each with two lines:
the process number when it has started, its exit status when it has ended.
"""

import importlib
import json
import os
import signal
import sys
import tempfile

from cgap.boundary.terminal import run_command
from cgap.cli import app

MODULES = (
    *("cgap.app.build", "cgap.app.lower", "cgap.backends.hls.backend", "cgap.training.run", "cgap.training.plot"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "onnxruntime", "rich.table", "torch._dynamo"),
)
for name in MODULES:
    importlib.import_module(name)


def run(request: dict) -> None:
    """The command, in the child; does not return."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background deaf to it
    os.chdir(request["cwd"])
    os.environ.update(request["variables"])
    tempfile.tempdir = None
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(log, number)
    sys.argv = ["cgap", *request["arguments"]]
    code = 1
    try:
        run_command(app)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        sys.stdout.flush()
        os._exit(code)


print("ready", flush=True)
for line in sys.stdin:
    if (child := os.fork()) == 0:
        run(json.loads(line))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
