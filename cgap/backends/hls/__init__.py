"""Renders `hls_templates/` from a schedule, packs weights and golden vectors, and runs the C simulation."""

from cgap.backends.common.templates import Header
from cgap.backends.common.vectors import write_vectors
from cgap.backends.common.weights import write_weights
from cgap.backends.hls.backend import HlsBackend
from cgap.backends.hls.csim import CsimResult, LayerResult, find_ap_include, find_compiler, run_csim
from cgap.backends.hls.emit import emit_hls

__all__ = [
    "CsimResult",
    "Header",
    "HlsBackend",
    "LayerResult",
    "emit_hls",
    "find_ap_include",
    "find_compiler",
    "run_csim",
    "write_vectors",
    "write_weights",
]
