"""If these break, training sees other pixels than deployment, or images meant for choices."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cgap.data import Images, load_sample, normalise  # noqa: E402
from cgap.data.pictures import Pictures  # noqa: E402
from cgap.training.batches import (  # noqa: E402
    GREY,
    as_input,
    augment,
    evaluation_batches,
    load_split,
    training_batches,
)
from cgap.training.config import Config, DataSection  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402

SAMPLE = DataSection(dataset="sample", held_out=50)


def test_network_input_is_that_of_the_hardware_path():
    images = load_sample().images
    assert np.array_equal(as_input(torch.from_numpy(images)).numpy(), normalise(images))


def test_held_out_images_are_not_trained_on():
    split = load_split(SAMPLE)
    seen = {image.tobytes() for image in split.train.images}
    assert (len(split.train), len(split.held_out)) == (150, 50)
    assert not any(image.tobytes() in seen for image in split.held_out.images)


def test_holding_out_everything_is_refused():
    with pytest.raises(UserError, match=r"data\.held_out: 200 of 200"):
        load_split(DataSection(dataset="sample", held_out=200))


def test_crops_are_windows_of_the_reflected_image_and_may_be_mirrored():
    pixels = torch.from_numpy(load_sample().images[:20])
    out = augment(pixels, SAMPLE, torch.Generator().manual_seed(1))
    padded = np.pad(pixels.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="reflect")
    for image, border in zip(out.numpy(), padded, strict=True):
        windows = [border[:, y : y + 32, x : x + 32] for y in range(9) for x in range(9)]
        assert any(np.array_equal(image, w) or np.array_equal(image, w[:, :, ::-1]) for w in windows)
    assert not torch.equal(out, pixels)


def test_cutout_greys_a_square_anywhere_and_leaves_the_other_draws_as_they_were():
    light = torch.full((200, 3, 32, 32), 200, dtype=torch.uint8)
    light[:, :, :, 16:] = 250
    without = augment(light, SAMPLE, torch.Generator().manual_seed(1))
    with_cutout = SAMPLE.model_copy(update={"cutout": 9})
    out = augment(light, with_cutout, torch.Generator().manual_seed(1))
    assert torch.equal(out, augment(light, with_cutout, torch.Generator().manual_seed(1)))
    hole = out == GREY
    assert torch.equal(out, without.masked_fill(hole, GREY))
    rows, columns = hole.any(3).sum(2), hole.any(2).sum(2)
    assert torch.equal(hole.sum((2, 3)), rows * columns)  # a rectangle
    assert (int(rows.max()), int(columns.max())) == (9, 9)
    assert min(int(rows.min()), int(columns.min())) >= 5  # cut by a border, its middle inside
    assert hole[:, 0].any(0).all()  # no pixel is spared
    assert as_input(torch.tensor([[[[GREY]]]])).item() == 0


def test_pictures_in_files_make_the_same_batches_as_in_memory(tmp_path):
    image = pytest.importorskip("PIL.Image")
    memory = load_sample()[:40]
    paths = np.array([tmp_path / f"{number}.png" for number in range(40)], object)
    for path, planes in zip(paths, memory.images, strict=True):
        image.fromarray(planes.transpose(1, 2, 0)).save(path)
    files = Images(Pictures(paths, 32), memory.labels)
    config = Config(model={"name": "resnet20"}, optimiser={"epochs": 1, "batch_size": 16})
    for batches in (training_batches, lambda images, *_: evaluation_batches(images, batch_size=16)):
        first, second = (
            list(batches(images, config, 0, torch.Generator().manual_seed(1))) for images in (memory, files)
        )
        assert len(first) == len(second) >= 2
        for (x, y), (other_x, other_y) in zip(first, second, strict=True):
            assert torch.equal(x, other_x)
            assert torch.equal(y, other_y)


def test_without_augmentation_pixels_stay():
    pixels = torch.from_numpy(load_sample().images[:4])
    still = DataSection(dataset="sample", crop_padding=0, flip=False)
    assert torch.equal(augment(pixels, still, torch.Generator()), pixels)


def test_an_epoch_is_whole_batches_of_different_images():
    still = DataSection(dataset="sample", held_out=50, crop_padding=0, flip=False)
    config = Config(model={"name": "resnet20"}, data=still, optimiser={"epochs": 1, "batch_size": 16})
    batches = list(training_batches(load_split(still).train, config, 0, torch.Generator()))
    assert [len(labels) for _, labels in batches] == [16] * 9
    images = torch.cat([x for x, _ in batches])
    assert len({image.numpy().tobytes() for image in images}) == 144


def test_a_restart_may_widen_the_border_of_crops():
    restart = {"epoch": 2, "learning_rate": 0.1, "crop_padding": 4}
    config = Config(model={"name": "resnet20"}, data={"crop_padding": 0}, optimiser={"epochs": 3, "restart": restart})
    assert [config.data_in(epoch).crop_padding for epoch in range(3)] == [0, 0, 4]
    assert config.data_in(2).held_out == config.data.held_out
