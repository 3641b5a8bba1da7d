"""CGaP: train a sparse convolutional network by continuous growth and pruning, and turn it into an FPGA accelerator.

The names in `__all__` are the public interface (docs/api.md), beside that of `fpga_model`; each is imported when it is
first asked for, so that importing `cgap` imports neither torch nor onnx.
"""

from typing import TYPE_CHECKING

from fpga_model.lazy import exporter

if TYPE_CHECKING:
    from cgap.app.build import HlsRequest, build_hls
    from cgap.app.export import export_run
    from cgap.app.plan import Planned, Target, plan_model
    from cgap.app.report import LoweringReport, Report, read_report
    from cgap.lowering import ImportedModel, ImportOptions, QdqModel, QuantiseOptions, export_qdq, import_onnx, quantise
    from cgap.lowering.registration import OperatorSupport, register_operator
    from cgap.plasticity import (
        IndexMap,
        Saliency,
        Space,
        Spaces,
        find_spaces,
        grow,
        plan_growth,
        plan_pruning,
        prune,
        surgery,
    )
    from cgap.training import Config, load_config, train
    from cgap.training.export import export_model

__version__ = "0.2.0.dev0"

__all__ = [
    "Config",
    "HlsRequest",
    "ImportOptions",
    "ImportedModel",
    "IndexMap",
    "LoweringReport",
    "OperatorSupport",
    "Planned",
    "QdqModel",
    "QuantiseOptions",
    "Report",
    "Saliency",
    "Space",
    "Spaces",
    "Target",
    "__version__",
    "build_hls",
    "export_model",
    "export_qdq",
    "export_run",
    "find_spaces",
    "grow",
    "import_onnx",
    "load_config",
    "plan_growth",
    "plan_model",
    "plan_pruning",
    "prune",
    "quantise",
    "read_report",
    "register_operator",
    "surgery",
    "train",
]

__getattr__ = exporter(
    __name__,
    {
        "cgap.app.build": ("HlsRequest", "build_hls"),
        "cgap.app.export": ("export_run",),
        "cgap.app.plan": ("Planned", "Target", "plan_model"),
        "cgap.app.report": ("LoweringReport", "Report", "read_report"),
        "cgap.lowering": (
            "ImportOptions",
            "ImportedModel",
            "QdqModel",
            "QuantiseOptions",
            "export_qdq",
            "import_onnx",
            "quantise",
        ),
        "cgap.lowering.registration": ("OperatorSupport", "register_operator"),
        "cgap.plasticity": (
            "IndexMap",
            "Saliency",
            "Space",
            "Spaces",
            "find_spaces",
            "grow",
            "plan_growth",
            "plan_pruning",
            "prune",
            "surgery",
        ),
        "cgap.training": ("Config", "load_config", "train"),
        "cgap.training.export": ("export_model",),
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
