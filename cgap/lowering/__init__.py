"""From ONNX to fixed point: import through named passes, quantisation, and QDQ export."""

from cgap.lowering.importer import ImportedModel, import_onnx
from cgap.lowering.onnx.interface import ImportOptions
from cgap.lowering.onnx.qdq import QdqModel, export_qdq
from cgap.lowering.quantisation.integers import quantise
from cgap.lowering.quantisation.options import QuantiseOptions

__all__ = ["ImportOptions", "ImportedModel", "QdqModel", "QuantiseOptions", "export_qdq", "import_onnx", "quantise"]
