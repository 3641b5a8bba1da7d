"""If these fail, what is built from Python takes several times the processor time of the command line."""

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from cgap.app.build import build_accelerator, compile_model
from cgap.app.lower import lower_model
from cgap.app.sim import run_model
from cgap.boundary.threads import one_thread
from cgap.lowering import quantise


def threads() -> int:
    np.ones((2, 2)) @ np.ones((2, 2))
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


def test_products_take_one_thread_and_the_caller_s_setting_comes_back() -> None:
    with threadpool_limits(2, user_api="blas"):
        assert one_thread(threads)() == 1
        assert threads() == 2


def test_whatever_runs_whole_networks_takes_one_thread() -> None:
    """Each is decorated: `functools.wraps` leaves the function itself in `__wrapped__`."""
    for function in (build_accelerator, compile_model, lower_model, run_model, quantise):
        assert hasattr(function, "__wrapped__"), function
