"""Images as plain numpy arrays: no PyTorch is imported here, because the hardware path reads them too."""

from cgap.data.cifar10 import (
    CLASSES,
    load_calibration_sample,
    load_cifar10,
    load_sample,
    load_test_or_sample,
    read_records,
    sample_indices,
)
from cgap.data.datasets import Dataset, dataset
from cgap.data.images import Images, Split, normalise

__all__ = [
    "CLASSES",
    "Dataset",
    "Images",
    "Split",
    "dataset",
    "load_calibration_sample",
    "load_cifar10",
    "load_sample",
    "load_test_or_sample",
    "normalise",
    "read_records",
    "sample_indices",
]
