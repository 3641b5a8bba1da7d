"""Training data held in memory as uint8, cropped and flipped a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cgap.data import Images, dataset
from cgap.training.config import Config, DataSection
from fpga_model.errors import UserError

SPLIT_SEED = 20
"""Fixed for all runs, so that choices made on the held-out images are comparable between runs."""


@dataclass(frozen=True)
class Split:
    """Training and held-out images."""

    train: Images
    held_out: Images


def load_split(data: DataSection) -> Split:
    """The training images, less those held out for choices; the test set is not touched.

    Raises UserError if nothing would be left to train on.
    """
    images = dataset(data.dataset, data.size).load("train")
    if data.held_out >= len(images):
        raise UserError(f"data.held_out: {data.held_out} of {len(images)} images leaves none to train on")
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    return Split(images[np.sort(order[data.held_out :])], images[np.sort(order[: data.held_out])])


def load_test(data: DataSection) -> Images:
    """The images for the one final measurement."""
    return dataset(data.dataset, data.size).load("test")


def as_input(pixels: Tensor) -> Tensor:
    """uint8 [N, C, H, W] -> the network's float32 input (pixel - 128) / 128, channels last."""
    return ((pixels.float() - 128) / 128).contiguous(memory_format=torch.channels_last)


def training_batches(
    images: Images, config: Config, epoch: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented batches (input, labels int64 [N]); a last incomplete batch is left out."""
    batch_size, data = config.optimiser.batch_size, config.data_in(epoch)
    pixels, labels = torch.from_numpy(images.images), torch.from_numpy(images.labels).long()
    order = torch.randperm(len(images), generator=generator)
    for first in range(0, len(images) - batch_size + 1, batch_size):
        chosen = order[first : first + batch_size]
        yield as_input(augment(pixels[chosen], data, generator)), labels[chosen]


def augment(pixels: Tensor, data: DataSection, generator: torch.Generator) -> Tensor:
    """Randomly crop from a reflected border and mirror; uint8 [N, C, H, W] in and out."""
    count, pad = len(pixels), data.crop_padding
    if pad:
        padded = F.pad(pixels.float(), (pad, pad, pad, pad), mode="reflect").to(torch.uint8)
        windows = padded.unfold(2, pixels.shape[2], 1).unfold(3, pixels.shape[3], 1)
        corner = torch.randint(0, 2 * pad + 1, (2, count), generator=generator)
        pixels = windows[torch.arange(count), :, corner[0], corner[1]]
    if data.flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    return pixels


def evaluation_batches(images: Images, batch_size: int = 500) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in order, as they are: (input, labels int64 [N])."""
    for first in range(0, len(images), batch_size):
        part = images[first : first + batch_size]
        yield as_input(torch.from_numpy(part.images)), torch.from_numpy(part.labels).long()
