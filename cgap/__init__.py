"""CGaP: train a sparse convolutional network by continuous growth and pruning, and turn it into an FPGA accelerator."""

__version__ = "0.1.0"
