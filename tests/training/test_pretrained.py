"""If these break, a shipped network is not the one its record describes, or misses what the project promises of it."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from cgap.data import load_cifar10, load_sample, normalise

FOLDER = Path(__file__).parents[2] / "cgap" / "pretrained"
RUNS = ["resnet110", "resnet20", "resnet20_dense"]


def record_of(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def epochs_of(name):
    lines = (FOLDER / f"{name}.metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "epoch" in line]


def percent_right(name, images):
    session = onnxruntime.InferenceSession(FOLDER / f"{name}.onnx")
    right = 0
    for first in range(0, len(images), 500):
        part = images[first : first + 500]
        (logits,) = session.run(["logits"], {"image": normalise(part.images)})
        right += int((logits.argmax(1) == part.labels).sum())
    return 100 * right / len(images)


def test_grown_network_is_at_most_half_of_the_dense_one_and_good():
    grown, dense = record_of("resnet20"), record_of("resnet20_dense")
    network = grown["network"]
    assert network["macs"] <= 0.5 * network["dense_macs"]
    assert network["params"] <= 0.5 * network["dense_params"]
    assert grown["accuracy"]["test_images"] == dense["accuracy"]["test_images"] == 10_000
    assert grown["accuracy"]["test"] >= 89
    assert {event["event"] for event in grown["history"]} == {"grow", "prune"}
    assert len([event for event in grown["history"] if event["event"] == "grow"]) > 2


def test_grown_network_is_within_one_and_a_half_points_of_its_control():
    grown, dense = record_of("resnet20"), record_of("resnet20_dense")
    assert grown["accuracy"]["test"] >= dense["accuracy"]["test"] - 1.5


def test_control_followed_the_same_recipe():
    grown, dense = record_of("resnet20")["config"], record_of("resnet20_dense")["config"]
    assert grown.pop("plasticity")
    assert dense.pop("plasticity") is None
    assert grown == dense
    assert len(epochs_of("resnet20")) == len(epochs_of("resnet20_dense"))


def test_deep_network_has_the_paper_s_reduction_or_more():
    record = record_of("resnet110")
    network = record["network"]
    assert network["macs"] <= (1 - 0.633) * network["dense_macs"]
    assert network["params"] <= (1 - 0.640) * network["dense_params"]
    assert network["cycles"] <= 0.37 * network["dense_cycles"]
    assert record["accuracy"]["test_images"] == 10_000
    assert record["accuracy"]["test"] >= 90
    assert [event["event"] for event in record["history"]] == ["grow"] * 6 + ["prune"] * 8


@pytest.mark.parametrize("name", RUNS)
def test_log_agrees_with_the_record(name):
    record, epochs = record_of(name), epochs_of(name)
    assert [epoch["epoch"] for epoch in epochs] == list(range(1, record["epochs"] + 1))
    assert epochs[-1]["held_out_accuracy"] == record["accuracy"]["held_out"]
    assert epochs[-1]["macs"] == record["network"]["macs"]


def test_inner_widths_suit_the_accelerator():
    widths = {name: width for name, width in record_of("resnet20")["widths"].items() if name.endswith("conv1")}
    assert len(widths) == 9
    assert all(width % 4 == 0 and width >= 8 for width in widths.values())


@pytest.mark.parametrize("name", RUNS)
def test_file_holds_the_network_of_its_record(name):
    model = onnx.load(FOLDER / f"{name}.onnx")
    weights = [t for t in model.graph.initializer if t.name.endswith(".weight")]
    assert sum(int(np.prod(t.dims)) for t in weights) == record_of(name)["network"]["params"]
    assert model.ir_version == 10


@pytest.mark.parametrize("name", RUNS)
def test_it_recognises_the_shipped_sample(name):
    assert percent_right(name, load_sample()) > 82


@pytest.mark.parametrize("name", RUNS)
def test_recorded_accuracy_is_what_onnxruntime_measures(name):
    if not os.environ.get("CGAP_DATA"):
        pytest.skip("needs the whole test set in $CGAP_DATA")
    # float32 sums in another order may tip an image whose two best classes all but tie
    assert percent_right(name, load_cifar10("test")) == pytest.approx(record_of(name)["accuracy"]["test"], abs=0.03)
