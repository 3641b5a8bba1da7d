"""ONNX at the border: files in, QDQ files out, and onnxruntime as an execution that this project did not write."""
