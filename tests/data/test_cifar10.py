"""If these break, images reach the networks in another order, scale or labelling than they were trained with."""

import http.client
import io
import os
import subprocess
import sys
import tarfile
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgap import data
from cgap.data import cifar10, download
from fpga_model.errors import UserError


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without CIFAR-10: no $CGAP_DATA, an empty cache folder, no network."""
    monkeypatch.delenv("CGAP_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def refuse(*_args, **_options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(download.urllib.request, "urlopen", refuse)
    return tmp_path / "cgap" / "data"


def some_images(count, seed=0):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return data.Images(pixels, random.integers(0, 10, count, dtype=np.uint8))


def test_sample_is_balanced_in_every_prefix_of_whole_tens():
    sample = data.load_sample()
    assert sample.images.shape == (300, 3, 32, 32)
    assert sample.images.dtype == sample.labels.dtype == np.uint8
    assert np.array_equal(sample.labels, np.tile(np.arange(10), 30))


def test_sample_is_what_its_index_list_says():
    if not os.environ.get("CGAP_DATA"):
        pytest.skip("needs the whole test set in $CGAP_DATA")
    test, sample = data.load_cifar10("test"), data.load_sample()
    indices = np.array(data.sample_indices())
    assert np.array_equal(indices, cifar10.choose_sample(test))
    assert np.array_equal(test.images[indices], sample.images)


def test_calibration_sample_is_of_training_images_that_nothing_is_measured_on():
    sample = data.load_calibration_sample()
    assert np.array_equal(sample.labels, np.tile(np.arange(10), 10))
    shown = {image.tobytes() for image in data.load_sample().images}
    assert not any(image.tobytes() in shown for image in sample.images)
    if not os.environ.get("CGAP_DATA"):
        pytest.skip("needs all images in $CGAP_DATA")
    train, indices = data.load_cifar10("train"), cifar10.calibration_indices()
    assert np.array_equal(train.images[indices], sample.images)
    batches, config = pytest.importorskip("cgap.training.batches"), pytest.importorskip("cgap.training.config")
    held_out = batches.load_split(config.DataSection(dataset="cifar10")).held_out
    kept_back = {image.tobytes() for image in held_out.images}
    assert not any(image.tobytes() in kept_back for image in sample.images)


def test_without_the_test_set_the_sample_stands_in_and_says_so(nowhere):
    images, name = data.load_test_or_sample()
    assert len(images) == 300
    assert "sample" in name


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_records_survive_writing_and_reading(count, seed):
    images = some_images(count, seed)
    back = data.read_records(cifar10.write_records(images), "x.bin")
    assert np.array_equal(back.images, images.images)
    assert np.array_equal(back.labels, images.labels)


@given(st.integers(0, 255))
def test_normalised_pixels_are_exact_in_eight_bits_with_seven_fraction_bits(pixel):
    value = data.normalise(np.array([pixel], dtype=np.uint8))
    assert value.dtype == np.float32
    assert value[0] * 128 == pixel - 128


@pytest.mark.parametrize("content", [b"", b"\0" * 3072, b"\0" * 3074])
def test_part_of_a_record_is_refused(content):
    with pytest.raises(UserError, match=r"x\.bin: .* not a whole number"):
        data.read_records(content, "x.bin")


def test_label_out_of_range_is_refused_with_its_record():
    records = cifar10.write_records(data.Images(some_images(3).images, np.array([1, 10, 2], dtype=np.uint8)))
    with pytest.raises(UserError, match=r"x\.bin: record 1 has label 10"):
        data.read_records(records, "x.bin")


def test_file_of_the_wrong_length_is_named(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(b"\0" * 3073)
    with pytest.raises(UserError, match=r"test_batch\.bin: 3073 bytes, expected 30730000"):
        data.load_cifar10("test", tmp_path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data_batch_1\.bin"):
        data.load_cifar10("train", tmp_path)


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown split 'validation'"):
        data.load_cifar10("validation", tmp_path)  # type: ignore[arg-type]


def test_without_data_and_network_the_error_says_what_to_put_where(nowhere):
    with pytest.raises(UserError) as caught:
        data.load_cifar10("test")
    assert download.URL in str(caught.value)
    assert str(nowhere / "cifar-10-batches-bin" / "data_batch_1.bin") in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [http.client.IncompleteRead(b"x"), http.client.BadStatusLine("garbage"), TimeoutError(), ConnectionResetError()],
)
def test_whatever_a_server_does_is_one_sentence(nowhere, monkeypatch, fault):
    def fail(*_args, **_options):
        raise fault

    monkeypatch.setattr(download.urllib.request, "urlopen", fail)
    with pytest.raises(UserError, match="could not be downloaded"):
        data.load_cifar10("test")
    assert list(nowhere.iterdir()) == []


def test_an_archive_cut_short_is_named(tmp_path):
    archive(tmp_path / "a.tar.gz", WHOLE)
    content = (tmp_path / "a.tar.gz").read_bytes()
    for share in (0.0, 0.3, 0.9):
        (tmp_path / "a.tar.gz").write_bytes(content[: int(share * len(content))])
        md5 = download.hashlib.md5((tmp_path / "a.tar.gz").read_bytes()).hexdigest()
        with pytest.raises(UserError, match=r"a\.tar\.gz: (cannot be unpacked|.* is missing)"):
            download.unpack_cifar10(tmp_path / "a.tar.gz", tmp_path / "new" / "final", md5)
    assert list((tmp_path / "new").iterdir()) == []


def test_mistyped_data_folder_is_an_error_and_not_a_download(nowhere, tmp_path, monkeypatch):
    monkeypatch.setenv("CGAP_DATA", str(tmp_path / "typo"))
    with pytest.raises(UserError, match=r"typo.*CGAP_DATA"):
        data.load_cifar10("test")


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return download.hashlib.md5(path.read_bytes()).hexdigest()


WHOLE = {f"cifar-10-batches-bin/{name}": name.encode() for name in sorted(download.MEMBERS)}


def test_archive_is_unpacked_and_nothing_else_is_written(tmp_path):
    md5 = archive(tmp_path / "a.tar.gz", {**WHOLE, "../../evil.txt": b"x", "cifar-10-batches-bin/extra.py": b"x"})
    final = tmp_path / "new" / "cifar-10-batches-bin"
    download.unpack_cifar10(tmp_path / "a.tar.gz", final, md5)
    assert {p.name for p in final.iterdir()} == download.MEMBERS
    assert [p.name for p in final.parent.iterdir()] == [final.name]
    assert (final / "test_batch.bin").read_bytes() == b"test_batch.bin"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({**WHOLE, "cifar-10-batches-bin/test_batch.bin": None}, "not a plain file"),
        ({name: content for name, content in WHOLE.items() if "batch_3" not in name}, r"data_batch_3\.bin is missing"),
    ],
)
def test_bad_archive_leaves_no_folder(tmp_path, members, message):
    md5 = archive(tmp_path / "a.tar.gz", members)
    with pytest.raises(UserError, match=message):
        download.unpack_cifar10(tmp_path / "a.tar.gz", tmp_path / "new" / "final", md5)
    assert not list((tmp_path / "new").iterdir())


def test_what_is_in_the_folder_already_stays(tmp_path):
    md5 = archive(tmp_path / "a.tar.gz", WHOLE)
    final = tmp_path / "final"
    (final / "mine").mkdir(parents=True)
    (final / "mine" / "notes.txt").write_text("years of work")
    (final / "data_batch_1.bin").write_text("cut short")
    (final / "data_batch_2.bin").write_bytes(b"data_batch_2.bin")
    for _ in range(2):
        download.unpack_cifar10(tmp_path / "a.tar.gz", final, md5)
        assert {path.name for path in final.iterdir()} == {*download.MEMBERS, "mine", "data_batch_1.bin.kept"}
        assert (final / "mine" / "notes.txt").read_text() == "years of work"
        assert (final / "data_batch_1.bin.kept").read_text() == "cut short"
        assert (final / "data_batch_1.bin").read_bytes() == b"data_batch_1.bin"


def test_wrong_md5_is_refused(tmp_path):
    archive(tmp_path / "a.tar.gz", WHOLE)
    with pytest.raises(UserError, match="MD5"):
        download.unpack_cifar10(tmp_path / "a.tar.gz", tmp_path / "final")


def test_reading_images_needs_no_torch():
    code = "import cgap.data, sys; cgap.data.load_sample(); sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
