"""Images as plain numpy arrays: no PyTorch is imported here, because the hardware path reads them too."""

from cgap.data.cifar10 import (
    CLASSES,
    Images,
    data_hashes,
    load_cifar10,
    load_sample,
    load_test_or_sample,
    normalise,
    read_records,
    sample_indices,
)

__all__ = [
    "CLASSES",
    "Images",
    "data_hashes",
    "load_cifar10",
    "load_sample",
    "load_test_or_sample",
    "normalise",
    "read_records",
    "sample_indices",
]
