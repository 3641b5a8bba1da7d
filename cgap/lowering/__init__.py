"""From ONNX to fixed point: import through named passes, quantisation, and QDQ export."""

from cgap.lowering.importer import ImportedModel, import_onnx

__all__ = ["ImportedModel", "import_onnx"]
