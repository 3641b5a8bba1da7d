"""What runs a network or a schedule: integer reference, simulator, analytic model, published model."""
