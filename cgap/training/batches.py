"""Training data as uint8, in memory or in files, cropped and flipped a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cgap.data import Images, dataset
from cgap.data.pictures import Pictures
from cgap.training.config import Config, DataSection
from cgap.training.workers import Workers
from fpga_model.errors import UserError

SPLIT_SEED = 20
"""Fixed for all runs, so that choices made on the held-out images are comparable between runs."""

GREY = 128
"""The pixel that the network reads as zero."""


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
    images: Images, config: Config, epoch: int, generator: torch.Generator, workers: Workers | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented batches (input, labels int64 [N]); a last incomplete batch is left out.

    Images in memory are copied to the workers' device whole, as uint8, and cropped there, those in files batch by
    batch; of each batch the worker gets its share. All random numbers are the CPU generator's, so they do not depend
    on devices and numbers of workers.
    """
    workers = workers or Workers()
    batch_size, data = config.optimiser.batch_size, config.data_in(epoch)
    device = workers.device
    pixels = images.images if isinstance(images.images, Pictures) else torch.from_numpy(images.images).to(device)
    labels = torch.from_numpy(images.labels).long().to(device)
    order = torch.randperm(len(images), generator=generator).to(device)
    for first in range(0, len(images) - batch_size + 1, batch_size):
        chosen = order[first : first + batch_size]
        batch = pixels[chosen] if isinstance(pixels, Tensor) else _decoded(pixels[chosen.cpu().numpy()]).to(device)
        batch = augment(batch, data, generator)
        yield as_input(workers.share(batch)), workers.share(labels[chosen])


def _decoded(images: NDArray[np.uint8] | Pictures) -> Tensor:
    return torch.from_numpy(np.asarray(images))


def augment(pixels: Tensor, data: DataSection, generator: torch.Generator) -> Tensor:
    """Randomly crop from a reflected border, mirror and cut out; uint8 [N, C, H, W] in and out, on any device."""
    count, pad, device = len(pixels), data.crop_padding, pixels.device
    if pad:
        padded = F.pad(pixels.float(), (pad, pad, pad, pad), mode="reflect").to(torch.uint8)
        windows = padded.unfold(2, pixels.shape[2], 1).unfold(3, pixels.shape[3], 1)
        corner = torch.randint(0, 2 * pad + 1, (2, count), generator=generator).to(device)
        pixels = windows[torch.arange(count, device=device), :, corner[0], corner[1]]
    if data.flip:
        mirrored = (torch.rand(count, generator=generator) < 0.5).to(device)
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    if data.cutout:
        rows, columns = (_strips(count, size, data.cutout, generator).to(device) for size in pixels.shape[2:])
        pixels = pixels.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], GREY)
    return pixels


def _strips(count: int, size: int, width: int, generator: torch.Generator) -> Tensor:
    """For each image, bool [count, size], `width` neighbours around a random place; fewer where that is at a border."""
    centre = torch.randint(0, size, (count, 1), generator=generator)
    offset = torch.arange(size) - centre + width // 2
    return (offset >= 0) & (offset < width)


def evaluation_batches(
    images: Images, device: torch.device | str = "cpu", batch_size: int = 500
) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in order, as they are: (input, labels int64 [N])."""
    for first in range(0, len(images), batch_size):
        part = images[first : first + batch_size]
        labels = torch.from_numpy(part.labels).to(device).long()
        yield as_input(_decoded(part.images).to(device)), labels
