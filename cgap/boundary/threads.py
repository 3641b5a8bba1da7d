"""Threads of the libraries that compute."""

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def one_thread(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorates what runs whole networks: matrix products in it take one thread, and the caller's setting comes back.

    A network is many small products. OpenBLAS's threads wait for one another by spinning, which took several times the
    processor time of one thread; and its own setting, OPENBLAS_NUM_THREADS, is read once, when numpy is imported.
    """

    @functools.wraps(function)
    def limited(*arguments: _P.args, **options: _P.kwargs) -> _R:
        from threadpoolctl import threadpool_limits  # here, so that commands which run no network do not import it

        with threadpool_limits(limits=1, user_api="blas"):
            return function(*arguments, **options)

    return limited


_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What tells OpenMP's libraries (GNU's, LLVM's, Intel's) how their threads wait for one another."""


def wait_passively() -> None:
    """Let OpenMP's threads, which PyTorch computes with, sleep while they wait for one another instead of spinning.

    A spinning thread keeps a core from the thread that it waits for: on a busy two-core machine, two threads took four
    times as long spinning (`python -m benchmarks.training --ways`). A user's own choice stays. To be called before
    torch is imported, because OpenMP reads its settings when it is loaded.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["OMP_WAIT_POLICY"] = "passive"
