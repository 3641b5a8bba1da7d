"""Processor seconds of what grows with depth and with images: import, quantising, the integer reference.

    python -m benchmarks.lowering [--widths 10,19,37] [--images 10000]

The first network has the 110 layers of ResNet-110, random weights and the `--widths` of its three stages (the default:
about a third of the dense network's MACs); the second is the shipped resnet20 on CIFAR-10 test images. The bars are
15 s for the first, and for the second 2 minutes on two cores. `cgap check` of a file of 100 MB may take 2 s.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks.flow import cpu_seconds
from cgap.app.check import check_model
from cgap.app.inputs import CALIBRATION_IMAGES, load_inputs, load_test_set
from cgap.app.models import resolve
from cgap.lowering import ImportOptions, import_onnx, quantise
from fpga_model.models.golden import run_reference
from tests.lowering.models import residual_net
from tests.lowering.zoo import vgg11


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="10,19,37")
    parser.add_argument("--images", type=int, default=10_000, help="0 leaves the second network out")
    arguments = parser.parse_args()
    widths = [int(width) for width in arguments.widths.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        path = residual_net(Path(folder) / "resnet110.onnx", widths, blocks=18, size=32)
        model = import_onnx(path)
        calibration = load_inputs(model.image, None).calibration().images
        graph = model.graph
        print(f"110 layers of widths {arguments.widths}: {graph.macs():,} MACs, {graph.weights():,} weights")
        print(f"import                          {cpu_seconds(lambda: import_onnx(path)):8.1f} CPU s")
        seconds = cpu_seconds(lambda: quantise(model, calibration))
        print(f"quantise, {CALIBRATION_IMAGES} images            {seconds:8.1f} CPU s", flush=True)
        path = vgg11(Path(folder) / "vgg11.onnx", hidden=700)
        seconds = cpu_seconds(lambda: check_model(str(path), ImportOptions()))
        print(f"check of {path.stat().st_size / 1e6:.0f} MB                 {seconds:8.1f} CPU s", flush=True)
    if arguments.images:
        model = import_onnx(resolve("resnet20"))
        fixed, test = quantise(model, calibration), load_test_set().first(arguments.images).integers()
        seconds = cpu_seconds(lambda: run_reference(fixed, test, [model.graph.output.name]))
        print(f"integer reference of resnet20   {seconds:8.1f} CPU s for {len(test):,} images")


if __name__ == "__main__":
    main()
