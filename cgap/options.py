"""Options that several commands of `cgap` share: each is described once, and a command takes a whole group of them.

A command asks for a group by a parameter of its type; `grouped` gives the command line the fields in its place.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpga_model.machine.accelerator import Accelerator

if TYPE_CHECKING:
    from cgap.app.plan import Target
    from cgap.lowering import ImportOptions

ModelArgument = Annotated[str, typer.Argument(help="A name from `cgap models`, or the path of an ONNX file.")]
TrustOption = Annotated[
    bool, typer.Option("--trust", help="Allow running code (MODULE:CALLABLE) that only the run folder names.")
]
WavesOption = Annotated[
    Path | None,
    typer.Option("--waves", help="If the RTL differs, write a waveform (FST) around the first difference."),
]
LayersOption = Annotated[bool, typer.Option("--layers", help="Print every layer, not only the most expensive ones.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
ImagesFileOption = Annotated[
    Path | None,
    typer.Option("--images-file", help="A .npy file of calibration images, for a network that does not read CIFAR-10."),
]


@dataclass(frozen=True)
class TargetOptions:
    """What a network is built for."""

    platform: Annotated[str, typer.Option("--platform", help="A name from `cgap platforms`, or a .toml file.")] = (
        "zcu104"
    )
    array: Annotated[str, typer.Option("--array", help="Pox x Poy x Pof: columns, rows and maps computed at once.")] = (
        "8x8x4"
    )
    schedule: Annotated[
        str,
        typer.Option(
            "--schedule", help="resident: feature maps stay on chip where they fit; layerwise: all go through DRAM."
        ),
    ] = "resident"
    page_depth: Annotated[
        int,
        typer.Option("--page-depth", min=1, help="Words in a bank of a feature page; deep or wide layers need more."),
    ] = Accelerator.page_depth
    capability: Annotated[
        list[str] | None,
        typer.Option(
            "--capability",
            help="A limit of what the accelerator can execute, such as kernel_columns=11; may be repeated.",
        ),
    ] = None
    specialise: Annotated[
        bool, typer.Option("--specialise", help="Build the accelerator for exactly what this network needs.")
    ] = False
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A file written by `cgap explore`: platform, array, buffers and schedule."),
    ] = None

    def parse(self) -> "Target":
        """Raises UserError."""
        from cgap.app.plan import Target

        given = self.platform, self.array, self.schedule, self.page_depth, self.capability or ()
        return Target.parse(*given, self.specialise, self.config)


@dataclass(frozen=True)
class ReadingOptions:
    """What is made of a file that leaves something open."""

    shape: Annotated[
        str, typer.Option("--shape", help="Image shape where the file leaves it open, such as 1,3,224,224.")
    ] = ""
    inputs: Annotated[str, typer.Option("--inputs", help="The tensor or node where the network begins.")] = ""
    outputs: Annotated[
        str, typer.Option("--outputs", help="The tensors or nodes where the network ends, such as scores,boxes.")
    ] = ""
    image_range: Annotated[
        str, typer.Option("--image-range", help="Lowest and highest pixel value, such as 0,255.")
    ] = ""

    def parse(self) -> "ImportOptions":
        """Raises UserError."""
        from cgap.lowering import ImportOptions

        return ImportOptions.parse(self.shape, self.inputs, self.outputs, self.image_range)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters that are groups of options are their fields for the command line and for callers."""
    own = inspect.signature(command)
    groups: dict[str, Any] = {name: p.annotation for name, p in own.parameters.items() if is_dataclass(p.annotation)}
    flat: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        if name in groups:
            flat += [
                inspect.Parameter(f.name, parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
                for f in fields(groups[name])
            ]
        else:
            required = parameter.default is parameter.empty
            flat.append(parameter if required else parameter.replace(kind=parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def taking_fields(*given: Any, **named: Any) -> None:
        bound = taking_fields.__signature__.bind(*given, **named)  # type: ignore[attr-defined]
        bound.apply_defaults()
        values = dict(bound.arguments)
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    taking_fields.__signature__ = own.replace(parameters=flat)  # type: ignore[attr-defined]
    taking_fields.__annotations__ = {p.name: p.annotation for p in flat} | {"return": own.return_annotation}
    return taking_fields
