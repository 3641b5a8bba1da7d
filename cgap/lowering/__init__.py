"""From ONNX to fixed point: import through named passes, quantisation, and QDQ export.

Each name is imported when it is first asked for: what costs a network imports it and does not quantise it.
"""

from typing import TYPE_CHECKING

from fpga_model.lazy import exporter

if TYPE_CHECKING:
    from cgap.lowering.importer import ImportedModel, import_onnx
    from cgap.lowering.onnx.interface import ImportOptions
    from cgap.lowering.onnx.qdq import QdqModel, export_qdq
    from cgap.lowering.quantisation.integers import quantise
    from cgap.lowering.quantisation.options import QuantiseOptions

__all__ = ["ImportOptions", "ImportedModel", "QdqModel", "QuantiseOptions", "export_qdq", "import_onnx", "quantise"]

__getattr__ = exporter(
    __name__,
    {
        "cgap.lowering.importer": ("ImportedModel", "import_onnx"),
        "cgap.lowering.onnx.interface": ("ImportOptions",),
        "cgap.lowering.onnx.qdq": ("QdqModel", "export_qdq"),
        "cgap.lowering.quantisation.integers": ("quantise",),
        "cgap.lowering.quantisation.options": ("QuantiseOptions",),
    },
)
