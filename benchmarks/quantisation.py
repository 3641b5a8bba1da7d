"""What each way of quantising does for the logits and the accuracy of a network, on held-out images of CIFAR-10.

    python -m benchmarks.quantisation [MODEL] [--images 5000] [--only TEXT]

Calibrates with the same images as `cgap hls`. Prints a row of the table in docs/numbers.md for each choice, with the
processor seconds of quantising and of the integer reference on all images.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from itertools import pairwise

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from cgap.app.inputs import Inputs, load_inputs
from cgap.app.models import resolve
from cgap.data import normalise
from cgap.lowering import QuantiseOptions, import_onnx, quantise
from cgap.lowering.quantisation.quality import compare
from cgap.training.batches import load_split
from cgap.training.config import DataSection
from fpga_model.models.golden import run_float, run_reference

BASE = QuantiseOptions()
CHOICES = {
    "mse (default)": BASE,
    "max": replace(BASE, calibration="max"),
    "percentile 99.99": replace(BASE, calibration="percentile"),
    "percentile 99.9": replace(BASE, calibration="percentile", percentile=99.9),
    "fractions per layer": replace(BASE, weight_fractions="layer"),
    "fractions per layer, bias correction": replace(BASE, weight_fractions="layer", bias_correction=True),
    "bias correction": replace(BASE, bias_correction=True),
    "unsigned": replace(BASE, activations="unsigned"),
    "unsigned, bias correction": replace(BASE, activations="unsigned", bias_correction=True),
    "16 bits": replace(BASE, bits=16),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="resnet20")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--only", default="", help="run the choices whose name holds this text")
    arguments = parser.parse_args()
    model = import_onnx(resolve(arguments.model))
    output = model.graph.output.name
    calibration = load_inputs(model.image, None).calibration().images
    held_out = load_split(DataSection(dataset="cifar10")).held_out[: arguments.images]
    images, labels = normalise(held_out.images), held_out.labels
    integers = Inputs(images, labels, "cifar10").integers()
    real = run_float(model.graph, model.parameters, images, [output])[output]
    accuracy = (real.reshape(len(real), -1).argmax(1) == labels).mean()
    print(f"{arguments.model}, {len(real):,} held-out images, float accuracy {accuracy:.2%}")
    print("| choice | accuracy | logits' SNR, dB | quantise, CPU s | reference, CPU s |\n|---|---|---|---|---|")
    for name, options in CHOICES.items():
        if arguments.only not in name:
            continue
        times = [time.process_time()]
        fixed = quantise(model, calibration, options)
        times.append(time.process_time())
        stored = run_reference(fixed, integers, [output])[output]
        times.append(time.process_time())
        snr = compare(stored, fixed.format(output), real).snr_db
        right = (stored.reshape(len(stored), -1).argmax(1) == labels).mean()
        seconds = " | ".join(f"{end - start:.1f}" for start, end in pairwise(times))
        print(f"| {name} | {right:.2%} | {snr:.1f} | {seconds} |", flush=True)


if __name__ == "__main__":
    main()
