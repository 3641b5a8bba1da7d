"""From ONNX to fixed point: import through named passes, quantisation, and QDQ export."""

from cgap.lowering.importer import ImportedModel, import_onnx
from cgap.lowering.options import QuantiseOptions
from cgap.lowering.qdq import QdqModel, export_qdq
from cgap.lowering.quantisation import quantise

__all__ = ["ImportedModel", "QdqModel", "QuantiseOptions", "export_qdq", "import_onnx", "quantise"]
