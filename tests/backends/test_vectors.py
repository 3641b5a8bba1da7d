"""If these fail, the test benches compare with something else than the integer reference."""

import json

import numpy as np
import pytest

from cgap.backends.common.vectors import write_vectors
from fpga_model.errors import UserError
from fpga_model.models.golden import run_reference
from tests.backends.networks import branch_network, random_images, residual_network


def test_every_tensor_has_a_file_even_if_names_are_hostile(tmp_path):
    fixed = branch_network()
    images = random_images(fixed.graph, 2)
    stored = write_vectors(fixed, images, tmp_path / "vectors")
    entries = json.loads((tmp_path / "vectors" / "manifest.json").read_text())["tensors"]
    assert [entry["layer"] for entry in entries] == [layer.name for layer in fixed.graph.layers] == list(stored)
    assert {path.name for path in tmp_path.rglob("*")} == {"vectors", "manifest.json"} | {e["file"] for e in entries}
    reference = run_reference(fixed, images)
    for entry in entries:
        values = np.fromfile(tmp_path / "vectors" / entry["file"], np.int8).reshape(2, *entry["shape"])
        np.testing.assert_array_equal(values, reference[entry["layer"]])


def test_images_of_another_size_are_refused(tmp_path):
    with pytest.raises(UserError):
        write_vectors(residual_network(), np.zeros((1, 3, 5, 5), np.int8), tmp_path / "vectors")
