"""Named passes from ONNX nodes to layers."""
