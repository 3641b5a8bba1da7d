"""CIFAR-10 in its publisher's binary format (Krizhevsky, 2009): 10,000 records a file, label byte then 3,072 pixels.

The archive's other edition is made of Python pickles, which are programs; they are never opened.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cgap.boundary.files import read_bounded
from cgap.data.download import find_cifar10, locate_cifar10
from cgap.data.images import Images, Split
from fpga_model.errors import UserError

CLASSES = 10
SHAPE = (3, 32, 32)
RECORD_BYTES = 1 + 3 * 32 * 32
FILES: dict[str, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
RECORDS_PER_FILE = 10_000
SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
"""Of the publisher's files."""


def read_records(data: bytes, name: str) -> Images:
    """Decode a whole number of publisher's records.

    Raises UserError, naming `name`, if the length is not a multiple of 3,073 bytes or a label is not 0 to 9.
    """
    if not data or len(data) % RECORD_BYTES:
        raise UserError(f"{name}: {len(data)} bytes is not a whole number of CIFAR-10 records of {RECORD_BYTES} bytes")
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, RECORD_BYTES)
    labels = records[:, 0].copy()
    wrong = np.flatnonzero(labels >= CLASSES)
    if wrong.size:
        raise UserError(f"{name}: record {wrong[0]} has label {labels[wrong[0]]}, CIFAR-10 labels are 0 to 9")
    return Images(records[:, 1:].reshape(-1, *SHAPE).copy(), labels)


def write_records(data: Images) -> bytes:
    """Encode images in the publisher's format; the inverse of `read_records`."""
    pixels = np.asarray(data.images).reshape(len(data), -1)
    return np.concatenate([data.labels[:, None], pixels], axis=1).tobytes()


def load_cifar10(split: Split, folder: Path | None = None) -> Images:
    """Load one split: 50,000 training or 10,000 test images.

    `folder` holds the .bin files; by default they are looked for in `$CGAP_DATA`, then in the user's cache
    folder, then downloaded. Raises UserError if they are nowhere to be had, cut short or corrupt.
    """
    if split not in FILES:
        raise UserError(f"unknown split '{split}': choose 'train' or 'test'")
    folder = folder or locate_cifar10()
    parts = []
    for name in FILES[split]:
        path = folder / name
        try:
            data = read_bounded(path, RECORDS_PER_FILE * RECORD_BYTES)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); put CIFAR-10's binary files there") from error
        if len(data) != RECORDS_PER_FILE * RECORD_BYTES:
            raise UserError(
                f"{path}: {len(data)} bytes, expected {RECORDS_PER_FILE * RECORD_BYTES}; "
                "the file is cut short or is not CIFAR-10's binary version: delete it and fetch it again"
            )
        if hashlib.sha256(data).hexdigest() != SHA256[name]:
            raise UserError(f"{path}: has the right size and another content than CIFAR-10's: fetch it again")
        parts.append(read_records(data, str(path)))
    return Images(np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts]))


def load_sample() -> Images:
    """The 300 test images that ship with the package, 30 of each class; every 10k first images are balanced."""
    return read_records(_shipped("cifar10_sample.bin"), "cifar10_sample.bin")


def load_calibration_sample() -> Images:
    """The 100 training images that ship with the package, 10 of each class; no run holds them out."""
    return read_records(_shipped("cifar10_calibration.bin"), "cifar10_calibration.bin")


def sample_indices() -> list[int]:
    """Position in the publisher's test file of each image of the sample, in the sample's order."""
    indices: list[int] = json.loads(_shipped("cifar10_sample.json"))["test_indices"]
    return indices


def calibration_indices() -> list[int]:
    """Position in the publisher's five training files of each image of the calibration sample."""
    indices: list[int] = json.loads(_shipped("cifar10_calibration.json"))["train_indices"]
    return indices


def _shipped(name: str) -> bytes:
    return resources.files("cgap.data").joinpath("sample", name).read_bytes()


def load_test_or_sample() -> tuple[Images, str]:
    """The whole test set where it is already on this machine, else the shipped sample; and a name saying which."""
    folder = find_cifar10()
    if folder is None:
        return load_sample(), "cifar10 sample (300 test images)"
    return load_cifar10("test", folder), "cifar10 test set (10,000 images)"


def files(split: Split) -> list[Path]:
    """The files of a split, downloaded if need be."""
    return [locate_cifar10() / name for name in FILES[split]]


def choose_sample(test: Images, per_class: int = 30) -> NDArray[np.int64]:
    """Indices of the first `per_class` images of each class, interleaved by class (0 to 9, 0 to 9, ...)."""
    firsts = [np.flatnonzero(test.labels == label)[:per_class] for label in range(CLASSES)]
    return np.stack(firsts, axis=1).reshape(-1)
