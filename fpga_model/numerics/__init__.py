"""Numbers: fixed point, tensors, and what a layer holds."""
