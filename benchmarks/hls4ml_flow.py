"""hls4ml on one network, from PyTorch to logits; benchmarks/peers.py runs it in hls4ml's own environment.

    python hls4ml_flow.py FOLDER SECONDS GIBIBYTES

FOLDER holds network.json (layers and number formats) and arrays.npz (weights, images). Left there: project/, the
generated C++; logits.npy; and result.json, without `compile_s` and `images_per_s` where the compiler was ended because
it took more CPU seconds or memory than it may.
"""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


class Network(nn.Module):
    """The layers of network.json with their weights. A layer that reads several tensors reads their sum."""

    def __init__(self, layers: list[dict[str, Any]], arrays: dict[str, Any]) -> None:
        super().__init__()
        self.layers = layers
        for layer in layers:
            arguments = {name: tuple(v) if isinstance(v, list) else v for name, v in layer["arguments"].items()}
            module = getattr(nn, layer["module"])(**arguments)
            for parameter, value in module.named_parameters():
                value.data = torch.from_numpy(arrays[f"{layer['name']}.{parameter}"])
            self.add_module(layer["name"], module)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        values = {"image": image}
        for layer in self.layers:
            first, *others = (values[name] for name in layer["inputs"])
            for other in others:
                first = first + other
            values[layer["name"]] = getattr(self, layer["name"])(first)
        return values[self.layers[-1]["name"]]


def configure(network: Network, description: dict[str, Any]) -> dict[str, Any]:
    """Its configuration with the given number formats; what has none is as wide as hls4ml infers that it must be."""
    import hls4ml  # here, so that a test without it can use the network

    config: dict[str, Any] = hls4ml.utils.config_from_pytorch_model(
        network,
        tuple(description["image"]),
        granularity="name" if description["formats"] else "model",
        backend="Vitis",
        channels_last_conversion="internal",
    )
    config["Model"].update(Strategy="Resource", ReuseFactor=description["reuse"])
    for layer, formats in description["formats"].items():
        config["LayerName"][layer]["Precision"].update(formats)
    for layer in description["layers"]:
        entry = config.setdefault("LayerName", {}).setdefault(layer["name"], {})
        # Of 1x1 convolutions hls4ml 1.3.0 emits C++ that does not compile where the factor is larger than their inputs.
        pointwise = layer["arguments"].get("kernel_size") == 1
        entry["ReuseFactor"] = layer["arguments"]["in_channels"] if pointwise else description["reuse"]
        entry["Strategy"] = "Resource"
    return config


def on_chip_bits(model: Any) -> dict[str, int]:
    """Bits of the streams between layers, of the lines of pixels that convolutions hold, and of the weights."""
    fifos = lines = 0
    for variable in model.output_vars.values():
        if isinstance(variable.pragma, tuple) and variable.pragma[0] == "stream":
            fifos += variable.pragma[1] * variable.shape[-1] * variable.type.precision.width
    for layer in model.get_layers():
        if layer.get_attr("filt_height"):
            source = layer.get_input_variable()
            held = (layer.get_attr("filt_height") - 1) * layer.get_attr("in_width") * layer.get_attr("n_chan")
            lines += held * source.type.precision.width
    weights = sum(
        int(np.prod(weights.shape)) * weights.type.precision.width
        for layer in model.get_layers()
        for weights in layer.weights.values()
    )
    return {"fifos": int(fifos), "lines": int(lines), "weights": weights}


def lines_of(folder: Path) -> dict[str, int]:
    """Lines of C++ that are of this network alone, weights left out, and of the library that is copied beside it."""

    def count(paths: list[Path]) -> int:
        return sum(len(path.read_text().splitlines()) for path in paths)

    own = [path for path in (folder / "firmware").iterdir() if path.suffix in (".cpp", ".h")]
    return {"own": count(own), "library": count(list((folder / "firmware" / "nnet_utils").rglob("*.h")))}


def cpu_seconds(step: Callable[[], Any], who: int = resource.RUSAGE_SELF) -> tuple[float, Any]:
    """The CPU seconds that a step takes, of this process or of those it starts, and what it returns."""
    before = resource.getrusage(who)
    result = step()
    after = resource.getrusage(who)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, result


def compile_within(folder: Path, seconds: int, gibibytes: int) -> bool:
    """Run hls4ml's build script, whose compiler may take so much; whether it ended well."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (gibibytes << 30, gibibytes << 30))

    with (folder / "compile.txt").open("w") as output:
        done = subprocess.run(
            ["bash", "build_lib.sh"], cwd=folder, stdout=output, stderr=subprocess.STDOUT, preexec_fn=limit
        )
    return done.returncode == 0


def main() -> None:
    """Convert, write, compile, run; see the top of the file."""
    folder, seconds, gibibytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    description = json.loads((folder / "network.json").read_text())
    with np.load(folder / "arrays.npz") as arrays:
        network = Network(description["layers"], {name: arrays[name] for name in arrays}).eval()
        images = arrays["images"]
    project = folder / "project"

    def emit() -> Any:
        import hls4ml

        model = hls4ml.converters.convert_from_pytorch_model(
            network,
            hls_config=configure(network, description),
            output_dir=str(project),
            io_type="io_stream",
            backend="Vitis",
            part=description["part"],
        )
        model.write()
        return model

    emit_s, model = cpu_seconds(emit)
    result = {"emit_s": emit_s, "lines": lines_of(project), "bits": on_chip_bits(model)}
    with torch.no_grad():
        np.save(folder / "torch.npy", network(torch.from_numpy(images)).numpy())
    compile_s, compiled = cpu_seconds(lambda: compile_within(project, seconds, gibibytes), resource.RUSAGE_CHILDREN)
    if compiled:
        result["compile_s"] = compile_s
        (library,) = (project / "firmware").glob("*.so")
        model._top_function_lib = ctypes.cdll.LoadLibrary(str(library))
        last = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        start = time.process_time()
        logits = model.predict(last)
        result["images_per_s"] = len(images) / (time.process_time() - start)
        np.save(folder / "logits.npy", logits)
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
