"""If these break, a data set is read with the wrong labels or planes, or a bad file ends in a traceback."""

import os
import struct

import numpy as np
import pytest

from cgap.data import cifar100, dataset, folders, mnist, svhn
from cgap.data.datasets import names
from fpga_model.errors import UserError

COUNT = {"train": 6, "test": 4}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty $CGAP_DATA, and data sets of a few images."""
    monkeypatch.setenv("CGAP_DATA", str(tmp_path))
    for module in (cifar100, mnist):
        monkeypatch.setattr(module, "COUNT", COUNT)
    for module in (cifar100, mnist, svhn):
        monkeypatch.setattr(module, "require_counts", lambda *_: None)  # these few are not the published ones
    return tmp_path


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def write_cifar100(folder, images, labels):
    place = folder / "cifar-100-binary"
    place.mkdir(exist_ok=True)
    rows = np.concatenate([labels[:, None] // 5, labels[:, None], images.reshape(len(images), -1)], axis=1)
    (place / "test.bin").write_bytes(rows.astype(np.uint8).tobytes())


def write_mnist(folder, images, labels):
    place = folder / "mnist"
    place.mkdir(exist_ok=True)
    header = struct.pack(">4i", 2051, len(images), 28, 28)
    (place / "t10k-images-idx3-ubyte").write_bytes(header + images.tobytes())
    (place / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, len(labels)) + labels.tobytes())


def write_svhn(folder, images, digits):
    scipy_io = pytest.importorskip("scipy.io")
    place = folder / "svhn"
    place.mkdir(exist_ok=True)
    content = {"X": images.transpose(2, 3, 1, 0), "y": digits[:, None]}
    scipy_io.savemat(place / "test_32x32.mat", content, do_compression=True)


def write_folder(folder, images, labels):
    pil = pytest.importorskip("PIL.Image")
    for split in ("train", "test"):
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            place = folder / "pictures" / split / f"class {label}"
            place.mkdir(parents=True, exist_ok=True)
            pil.fromarray(image.transpose(1, 2, 0)).save(place / f"{index}.png")


@pytest.mark.parametrize(
    ("name", "write", "shape", "labels"),
    [("cifar100", write_cifar100, (3, 32, 32), [99, 0, 7, 42]), ("mnist", write_mnist, (1, 28, 28), [9, 0, 7, 4])],
)
def test_images_and_labels_come_back(folder, name, write, shape, labels):
    """Of CIFAR-100 the fine labels; of MNIST one plane."""
    images, expected = pixels(4, *shape), np.array(labels, np.uint8)
    write(folder, images, expected)
    read = dataset(name).load("test")
    assert np.array_equal(read.images, images)
    assert np.array_equal(read.labels, expected)


def test_svhn_calls_zero_ten(folder):
    images = pixels(4, 3, 32, 32)
    write_svhn(folder, images, np.array([10, 1, 9, 5]))
    read = dataset("svhn").load("test")
    assert np.array_equal(read.images, images)
    assert read.labels.tolist() == [0, 1, 9, 5]


def test_folders_are_classes_in_alphabetical_order(folder):
    images = pixels(4, 3, 8, 8)
    write_folder(folder, images, [1, 0, 1, 0])
    data = dataset(f"folder:{folder / 'pictures'}", size=8)
    read = data.load("test")
    assert (data.classes, data.shape) == (2, (3, 8, 8))
    assert np.array_equal(read.images, images[[1, 3, 0, 2]])
    assert read.labels.tolist() == [0, 0, 1, 1]
    assert dataset(data.name, size=4).load("test").images.shape == (4, 3, 4, 4)


def test_folders_of_more_classes_than_a_byte_counts_and_pictures_left_in_their_files(folder, monkeypatch):
    """As ImageNet's are: 1,000 classes, `val`, too many to decode at once."""
    images, labels = pixels(300, 3, 4, 4), np.arange(300)
    write_folder(folder, images, labels)
    (folder / "pictures" / "test").rename(folder / "pictures" / "val")
    whole = dataset(f"folder:{folder / 'pictures'}", size=4).load("test")
    monkeypatch.setattr(folders, "_IN_MEMORY", 1000)
    left = dataset(f"folder:{folder / 'pictures'}", size=4).load("test")
    names = sorted(f"class {label}" for label in labels)
    assert [names[label] for label in left.labels] == names
    chosen = np.array([299, 3, 3])
    assert not isinstance(left.images, np.ndarray)
    assert isinstance(whole.images, np.ndarray)
    assert left.images.shape == whole.images.shape
    assert np.array_equal(np.asarray(left[10:20][5:].images), whole.images[15:20])
    assert np.array_equal(np.asarray(left[chosen].images), whole.images[chosen])


def test_a_folders_digest_tells_two_files_of_one_name_apart(folder):
    write_folder(folder, pixels(4, 3, 8, 8), [1, 0, 1, 0])
    data = dataset(f"folder:{folder / 'pictures'}", size=8)
    before = data.hashes()
    place = folder / "pictures" / "train"
    (place / "class 0" / "1.png").rename(place / "class 0" / "0.png")  # class 1 has a 0.png, too
    named = data.hashes()
    assert named["train"] != before["train"]
    assert named["test"] == before["test"]
    (place / "class 0" / "0.png").write_bytes((place / "class 1" / "0.png").read_bytes())
    assert data.hashes()["train"] != named["train"]


@pytest.mark.parametrize("name", sorted({*names()} - {"sample", "cifar10"}))
def test_missing_files_are_named_with_their_source(folder, name):
    with pytest.raises(UserError, match=rf"{folder}.* does not exist: put the files of http"):
        dataset(name).load("train")


def test_unknown_names_and_folders(folder):
    with pytest.raises(UserError, match=r"unknown data set 'cifar11'.*cifar100.*folder:PATH"):
        dataset("cifar11")
    with pytest.raises(UserError, match="train: cannot be read"):
        dataset(f"folder:{folder}")
    (folder / "train" / "cat").mkdir(parents=True)
    (folder / "test" / "dog").mkdir(parents=True)
    with pytest.raises(UserError, match="'cat' is a class of only one"):
        dataset(f"folder:{folder}")


def test_files_of_the_wrong_size_or_content(folder):
    write_cifar100(folder, pixels(3, 3, 32, 32), np.zeros(3, np.uint8))
    with pytest.raises(UserError, match=r"test.bin: 9,222 bytes, expected 12,296"):
        dataset("cifar100").load("test")
    write_cifar100(folder, pixels(4, 3, 32, 32), np.full(4, 100, np.uint8))
    with pytest.raises(UserError, match="label 100"):
        dataset("cifar100").load("test")
    write_mnist(folder, pixels(4, 1, 28, 28), np.full(4, 10, np.uint8))
    with pytest.raises(UserError, match="label 10"):
        dataset("mnist").load("test")
    path = folder / "mnist" / "t10k-images-idx3-ubyte"
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    with pytest.raises(UserError, match="not an IDX file"):
        dataset("mnist").load("test")


def test_matlab_files_that_are_none_or_hold_something_else(folder):
    write_svhn(folder, pixels(4, 3, 32, 32), np.array([1, 2, 3, 11]))
    with pytest.raises(UserError, match="digits from 1 to 10"):
        dataset("svhn").load("test")
    path = folder / "svhn" / "test_32x32.mat"
    for content in (b"", b"\0" * 300, path.read_bytes()[:400]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"test_32x32\.mat: "):
            dataset("svhn").load("test")


def test_a_picture_that_cannot_be_decoded(folder):
    write_folder(folder, pixels(2, 3, 8, 8), [0, 1])
    (folder / "pictures" / "train" / "class 1" / "0.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(UserError, match=r"class 1/0.png: is not a readable image"):
        dataset(f"folder:{folder / 'pictures'}").load("train")


def test_files_of_the_right_size_and_another_content_are_noticed(tmp_path, monkeypatch):
    """All zero, as a download leaves them that reserved its space and died: every image is an aeroplane."""
    monkeypatch.setenv("CGAP_DATA", str(tmp_path))
    for name, size in (("cifar-10-batches-bin/test_batch.bin", 30_730_000), ("cifar-100-binary/test.bin", 30_740_000)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, size)
    write_mnist(tmp_path, np.zeros((10_000, 1, 28, 28), np.uint8), np.zeros(10_000, np.uint8))
    write_svhn(tmp_path, np.zeros((26_032, 3, 32, 32), np.uint8), np.ones(26_032, np.uint8))
    for name in ("cifar10", "cifar100", "mnist", "svhn"):
        with pytest.raises(UserError, match=r"has the right size and (another content|other labels)"):
            dataset(name).load("test")


@pytest.mark.parametrize(
    ("name", "write", "shape"), [("cifar100", write_cifar100, (3, 32, 32)), ("mnist", write_mnist, (1, 28, 28))]
)
def test_blank_images_are_noticed(folder, name, write, shape):
    images = pixels(4, *shape)
    images[2] = 0
    write(folder, images, np.array([1, 2, 3, 4], np.uint8))
    with pytest.raises(UserError, match="1 blank images, the first of them number 2; "):
        dataset(name).load("test")


def test_a_pipe_among_pictures_does_not_hang(folder):
    write_folder(folder, pixels(4, 3, 8, 8), [0, 1, 0, 1])
    os.mkfifo(folder / "pictures" / "train" / "class 0" / "00.png")
    pictures = dataset(f"folder:{folder / 'pictures'}", 8)
    with pytest.raises(UserError, match=r"00\.png: is not a regular file"):
        pictures.load("train")
    with pytest.raises(UserError, match=r"00\.png: is not a regular file"):
        pictures.hashes()
    (folder / "cifar-100-binary").mkdir()
    os.mkfifo(folder / "cifar-100-binary" / "test.bin")
    with pytest.raises(UserError, match=r"does not exist|regular file"):
        dataset("cifar100").load("test")
