"""The `cgap` command.

Commands are thin: they turn arguments into one call and its result into a few lines. What a command needs is imported
inside it, so that `cgap models` starts at once and only `cgap train` and `cgap export` need torch.

Exit codes: 0 success, 2 the input is at fault (one sentence on stderr), 130 interrupted, 1 a defect (traceback).
"""

from cgap.cli import building, designs, training
from cgap.cli.root import app, main

__all__ = ["app", "building", "designs", "main", "training"]
