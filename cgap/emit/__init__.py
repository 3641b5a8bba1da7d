"""Renders `hls_templates/` from a schedule, packs weights and golden vectors, and runs the C simulation."""

from cgap.emit.csim import CsimResult, LayerResult, find_ap_include, find_compiler, run_csim
from cgap.emit.hls import emit_hls
from cgap.emit.templates import Header
from cgap.emit.vectors import write_vectors
from cgap.emit.weights import write_weights

__all__ = [
    "CsimResult",
    "Header",
    "LayerResult",
    "emit_hls",
    "find_ap_include",
    "find_compiler",
    "run_csim",
    "write_vectors",
    "write_weights",
]
