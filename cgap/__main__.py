"""`python -m cgap`, the same as the `cgap` command: it reads the tree it is started in, wherever that was moved."""

from cgap.cli import main

main()
