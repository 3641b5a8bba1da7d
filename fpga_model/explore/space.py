"""Configurations: arrays, buffer depths, ports and schedules, and which of them a part can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from typing import Any

from fpga_model.errors import UserError
from fpga_model.graph import LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import Platform
from fpga_model.models.resources import estimate_resources
from fpga_model.schedule.plan import Kind


@dataclass(frozen=True)
class Configuration:
    """One accelerator with the width of its port and the schedule that it runs."""

    Pox: int
    Poy: int
    Pof: int
    page_depth: int
    weight_depth: int
    parameter_depth: int
    port_bits: int
    kind: Kind
    pages: int = 2

    @property
    def accelerator(self) -> Accelerator:
        """The accelerator. Raises UserError if there is none of these sizes."""
        return Accelerator(
            self.Pox,
            self.Poy,
            self.Pof,
            pages=self.pages,
            page_depth=self.page_depth,
            weight_depth=self.weight_depth,
            parameter_depth=self.parameter_depth,
        )

    @property
    def array(self) -> str:
        return f"{self.Pox}x{self.Poy}x{self.Pof}"

    def on(self, platform: Platform) -> Platform:
        """The platform with a port of this width."""
        return platform.with_port(self.port_bits)

    def to_json(self) -> dict[str, Any]:
        """Its fields, for `json.dump`."""
        return {**asdict(self), "kind": self.kind.value}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Configuration:
        """The inverse of `to_json`."""
        return cls(**{**{f.name: entry[f.name] for f in fields(cls)}, "kind": Kind(entry["kind"])})


def _powers(low: int, high: int) -> tuple[int, ...]:
    return tuple(1 << k for k in range(low.bit_length() - 1, high.bit_length()) if low <= 1 << k <= high)


@dataclass(frozen=True)
class Space:
    """The sizes to combine into configurations.

    Attributes:
        Pox, Poy, Pof: of the array.
        page_depths, weight_depths: words of the buffers; a memory block is used whole from 512 words on.
        pages: feature pages. Three are a step between a depth and its double; four are on no front.
        port_bits: widths of the port; those wider than the platform's are skipped.
        kinds: schedules.
        least_share: arrays with a smaller share than this of the multipliers of the largest that fits are skipped.
    """

    Pox: Sequence[int] = _powers(2, 64)
    Poy: Sequence[int] = _powers(2, 64)
    Pof: Sequence[int] = _powers(1, 128)
    page_depths: Sequence[int] = _powers(512, 8192)
    weight_depths: Sequence[int] = (2048, 8192, 32768)
    pages: Sequence[int] = (2, 3)
    port_bits: Sequence[int] = (64, 128, 256, 512)
    kinds: Sequence[Kind] = field(default_factory=lambda: tuple(Kind))
    least_share: float = 1 / 16

    def configurations(self, graph: LayerGraph, platform: Platform) -> list[Configuration]:
        """All configurations that fit the platform, those of one array and port together.

        Raises:
            UserError: none fits.
        """
        maps = max(graph.shape(layer.name).channels for layer in graph.layers)
        records = max(1024, 1 << (2 * maps - 1).bit_length())
        arrays = sorted(
            product(self.Pox, self.Poy, self.Pof), key=lambda array: (array[0] * array[1] * array[2], array)
        )
        fitting = [array for array in arrays if self._holds(platform, array, records)]
        if not fitting:
            raise UserError(
                f"platform {platform.name} holds no array of those that are explored, each with the least buffers "
                f"({min(self.pages)} pages of {min(self.page_depths)} words, {min(self.weight_depths)} weight words)"
            )
        most = max(Pox * Poy * Pof for Pox, Poy, Pof in fitting)
        chosen = [array for array in fitting if array[0] * array[1] * array[2] >= most * self.least_share]
        found = (configuration for array in chosen for configuration in self._of(platform, array, records))
        return sorted(found, key=lambda c: (c.Pox * c.Poy * c.Pof, c.Pox, c.Poy, c.port_bits))

    def _holds(self, platform: Platform, array: tuple[int, int, int], records: int) -> bool:
        depths = min(self.page_depths), min(self.weight_depths)
        return _fits(
            platform, Configuration(*array, *depths, records, platform.axi_bits, Kind.RESIDENT, min(self.pages))
        )

    def _of(self, platform: Platform, array: tuple[int, int, int], records: int) -> Iterator[Configuration]:
        """All configurations of an array. Wider ports than a feature word are the same port."""
        word = 16 * array[0]
        ports = sorted({min(port, word) for port in (*self.port_bits, platform.axi_bits) if port <= platform.axi_bits})
        for page_depth, weight_depth, pages in product(self.page_depths, self.weight_depths, self.pages):
            sizes = (*array, page_depth, weight_depth, records)
            if _fits(platform, Configuration(*sizes, platform.axi_bits, Kind.RESIDENT, pages)):
                for port, kind in product(ports, self.kinds):
                    yield Configuration(*sizes, port, kind, pages)


def _fits(platform: Platform, configuration: Configuration) -> bool:
    try:
        accelerator, board = configuration.accelerator, configuration.on(platform)
        board.check(accelerator)
    except UserError:
        return False
    return not estimate_resources(accelerator, board).over(board)
