"""Threads of the libraries that compute."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from threadpoolctl import threadpool_limits

_F = TypeVar("_F", bound=Callable[..., Any])


def one_thread(function: _F) -> _F:
    """Decorates what runs whole networks: matrix products in it take one thread, and the caller's setting comes back.

    A network is many small products. OpenBLAS's threads wait for one another by spinning, which took several times the
    processor time of one thread; and its own setting, OPENBLAS_NUM_THREADS, is read once, when numpy is imported.
    """
    return cast(_F, threadpool_limits.wrap(limits=1, user_api="blas")(function))
