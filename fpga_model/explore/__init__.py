"""All accelerators that a part holds, costed by the analytic model, and the best of them."""
