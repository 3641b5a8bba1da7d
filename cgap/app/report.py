"""The reports of `cgap`: everything measured on one build, as typed documents with a version, and their reader.

`report.json` is written from these classes and read back by them; the terminal's tables and the HTML page render them.
A figure that was not measured is None. `make_report` (reporting.py) fills in the report of a build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cgap.boundary.files import read_json, write_atomic
from fpga_model.errors import UserError

VERSION: Literal[1] = 1
"""Of both kinds of report; larger when a key changes its meaning or goes. New keys may come without it."""
MAX_BYTES = 256 << 20

ANALYTIC, SIMULATED, C_SIMULATION, RTL = "analytic", "simulated", "c_simulation", "rtl"
BACKENDS = (ANALYTIC, SIMULATED, C_SIMULATION, RTL)
"""What can say how long a network takes: two models of the machine, and two implementations of it that are run."""

Figures = dict[str, int | None]
"""One quantity by backend; None where it was not run or does not measure it. Other backends may be added."""
Sizes = tuple[int, int, int]
"""Channels, height, width of a tensor."""


class Document(BaseModel):
    """A part of a report. Unknown keys are passed over, so that a newer report with more of them can be read."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True)


class Accuracy(Document):
    """Share of `images` that the real-valued and the fixed-point network classify rightly."""

    images: int
    real: float | None = Field(alias="float", description="of the network as it was given, run by onnxruntime")
    fixed: float | None


class Network(Document):
    """MACs of one image and weights; of the dense network too, where the model's record tells them."""

    macs: int
    params: int
    dense_macs: int | None
    dense_params: int | None
    image: Sizes
    outputs: dict[str, Sizes] = Field(description="by the name of their layer")


class Board(Document):
    """The platform that the accelerator is for."""

    name: str
    description: str
    part: str
    dram: str = Field(description="kind of memory")
    axi_bits: int = Field(description="width of the port that the accelerator has")
    bytes_per_cycle: float = Field(description="the most that one direction of the port moves")


class AcceleratorSummary(Document):
    """The accelerator and how the network runs on it."""

    platform: str
    array: tuple[int, int, int] = Field(description="Pox, Poy, Pof")
    bits: int
    clock_mhz: float
    schedule: str
    macs_per_cycle: int
    pages: int
    page_depth: int
    weight_depth: int
    parameter_depth: int
    capability: dict[str, int] = Field(description="what it can execute at most (docs/instruction-set.md)")


class Resource(Document):
    """A resource of the FPGA in the part's own `unit`: what the accelerator needs of it, and what there is."""

    unit: str
    needed: int | None
    available: int | None


class Resident(Document):
    """A tensor that stays on chip: where, and from the layer that makes it to the last that reads it (indices)."""

    layer: str
    page: int
    address: int
    depth: int = Field(description="words in each bank of the page")
    born: int
    dies: int


class Memory(Document):
    """What lies where. Bytes of the DRAM regions are by region: parameters, input, output, feature."""

    residents: list[Resident]
    in_dram: list[str] = Field(description="layers whose tensors travel through DRAM between layers")
    dram_bytes: dict[str, int]
    feature_bytes: int = Field(description="capacity of the feature pages")
    weight_bytes: int = Field(description="capacity of the weight buffer")


class Tiles(Document):
    """The tiles of a layer: how many, and maps and rows of one that is not cut short."""

    count: int
    maps: int
    rows: int


class Traffic(Document):
    """Bytes that a layer moves, by kind, as simulated. The last two are feature maps that found no place on chip."""

    parameters: int
    input: int
    output: int
    feature_read: int
    feature_write: int


class LayerReport(Document):
    """One layer.

    `least_dram_bytes` are its weights, the image where it is the first to read it, and its output where that is an
    output of the network, each moved once without padding; they sum to the limit of the network. `tensor_bytes` are
    its weights and all that it reads and makes. `busy` are cycles of array, drain, DRAM reads and DRAM writes.
    """

    name: str
    op: str
    inputs: list[str]
    input_shapes: list[Sizes]
    output_shape: Sizes
    kernel: tuple[int, int] | None = Field(description="rows, columns; None where no window slides")
    stride: tuple[int, int] | None
    macs: int
    weights: int
    tiles: Tiles
    tile_efficiency: float | None
    bound: str
    busy: dict[str, int]
    cycles: Figures
    dram_read_bytes: Figures
    dram_write_bytes: Figures
    traffic: Traffic
    least_dram_bytes: int
    tensor_bytes: int
    saturated: int | None
    snr_db: float | None


class Totals(Document):
    """Of one image."""

    cycles: Figures
    dram_read_bytes: Figures
    dram_write_bytes: Figures
    latency_ms: float
    dram_energy_mj: float
    utilisation: float


class Limits(Document):
    """What no schedule on this array and port can beat."""

    compute_cycles: int
    dram_bytes: int
    latency_ms: float


class Run(Document):
    """An implementation that ran: images, stored values that differ from the integer reference, seconds."""

    images: int
    mismatches: int
    seconds: float


class DramConstant(Document):
    """The energy of an image under one DRAM constant, which has a source."""

    name: str
    pj_per_bit: float
    source: str
    dram_mj: float
    total_mj: float


class EnergyReport(Document):
    """How often an image's computation accesses what, and the energy of that under the platform's constants."""

    accesses: dict[str, int] = Field(description="words of the buffers, bytes of DRAM (docs/energy.md)")
    row_activations: int = Field(description="of DRAM, from the addresses; part of the constants, not added to them")
    mac_mj: float
    buffer_mj: float
    dram_mj: float
    total_mj: float
    dram_bytes: int
    sources: dict[str, str]
    sensitivity: list[DramConstant]


class Cost(Document):
    """What the published ratios are of."""

    macs: int
    params: int
    dram_bytes: int
    dram_mj: float
    cycles: int


class Beside(Document):
    """The dense network and this one on the same accelerator under one schedule, by the analytic model."""

    schedule: str
    dense: Cost
    this: Cost


class Report(Document):
    """The report of one network on one accelerator: `report.json` of `cgap hls`, `cgap rtl` and `cgap sim --json`."""

    kind: Literal["accelerator"] = "accelerator"
    version: Literal[1] = VERSION
    tool: str
    command: str = Field(description="makes it again")
    model: str
    dataset: str | None
    onnx_sha256: str
    accuracy: Accuracy
    network: Network
    board: Board
    accelerator: AcceleratorSummary
    resources: dict[str, Resource] = Field(description="dsp, block (of memory), lut, ff")
    memory: Memory
    layers: list[LayerReport]
    totals: Totals
    limits: Limits
    runs: dict[str, Run | None] = Field(description="by backend; None: not run")
    energy: EnergyReport | None = None
    dense: list[Beside] = Field(default_factory=list, description="where the dense network is known; else empty")

    def measured_by(self) -> list[str]:
        """The backends that have counted the network's cycles, in the order of BACKENDS."""
        return [name for name in BACKENDS if self.totals.cycles.get(name) is not None]


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value


Decibels = Annotated[float | None, BeforeValidator(_null)]
"""None, too, where it is infinite, which JSON cannot hold."""


class FormatReport(Document):
    """A fixed-point format."""

    bits: int
    frac: int
    signed: bool


class Alone(Document):
    """What the network loses when one layer alone has 8 bits."""

    snr_db: Decibels
    drop: float | None


class StoredLayer(Document):
    """A stored tensor as integers."""

    name: str
    op: str
    format: FormatReport
    weight_bits: int | None
    accumulator_bits: int
    values: int
    saturated: int
    snr_db: float | None
    proven: bool
    alone_at_8_bits: Alone | None


class Requantised(Document):
    """A tensor that is stored in another format than the file asks for."""

    layer: str
    snr_db: float | None


class FileIntegers(Document):
    """What became of the tensors that the file itself stores as integers; SNR is against the file's values."""

    kept: list[str]
    requantised: list[Requantised]
    not_stored: list[str]


class LoweringReport(Document):
    """The report of a quantised network: `report.json` of `cgap lower`."""

    kind: Literal["lowering"] = "lowering"
    version: Literal[1] = VERSION
    tool: str
    model: str
    dataset: str | None
    onnx_sha256: str
    images: int
    options: dict[str, Any]
    target: dict[str, float | None] | None
    accuracy: Accuracy
    layers: list[StoredLayer]
    file: FileIntegers


AnyReport = TypeVar("AnyReport", Report, LoweringReport)


def report_json(report: Report | LoweringReport) -> str:
    """The text of `report.json`."""
    return report.model_dump_json(indent=2, by_alias=True) + "\n"


def write_report(report: Report | LoweringReport, path: Path) -> None:
    """Write `report.json`."""
    write_atomic(path, report_json(report))


def read_report(path: Path, form: type[AnyReport] = Report) -> AnyReport:  # type: ignore[assignment]
    """The report in a file, or in the build folder that has one.

    Raises:
        UserError: there is none, it is of another kind or version, or something is missing or wrong in it.
    """
    path = path / "report.json" if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path}: there is no report; `cgap hls MODEL` writes one")
    document = read_json(path, MAX_BYTES)
    kind = form.model_fields["kind"].default
    if not isinstance(document, dict) or document.get("kind") not in ("accelerator", "lowering"):
        raise UserError(f"{path}: is not a report of cgap, or of one before version 1: build it again")
    if document["kind"] != kind:
        raise UserError(f"{path}: is a report of the kind {document['kind']!r}, not {kind!r}")
    if document.get("version") != VERSION:
        raise UserError(
            f"{path}: is a report of version {document.get('version')!r}, and this cgap reads version {VERSION}: "
            f"build it again"
        )
    try:
        return form.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: the report is damaged: {where}: {first['msg']}") from error
