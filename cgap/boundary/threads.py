"""Threads of the libraries that compute."""

import functools
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
