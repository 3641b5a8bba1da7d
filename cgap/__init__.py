"""CGaP: train a sparse convolutional network by continuous growth and pruning, and turn it into an FPGA accelerator.

The names in `__all__` are the public interface (docs/api.md), beside that of `fpga_model`; each is imported when it is
first asked for, so that importing `cgap` imports neither torch nor onnx.
"""

from typing import TYPE_CHECKING

from fpga_model.lazy import exporter

if TYPE_CHECKING:
    from cgap.app.build import BuildRequest, build_accelerator
    from cgap.app.export import export_run
    from cgap.app.plan import Planned, Target, plan_model
    from cgap.app.report import LoweringReport, Report, read_report
    from cgap.backends.common.backend import Backend, Build, Design, LayerFigures, Result
    from cgap.backends.hls.backend import HlsBackend
    from cgap.backends.rtl.backend import RtlBackend
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
    "Backend",
    "Build",
    "BuildRequest",
    "Config",
    "Design",
    "HlsBackend",
    "ImportOptions",
    "ImportedModel",
    "IndexMap",
    "LayerFigures",
    "LoweringReport",
    "OperatorSupport",
    "Planned",
    "QdqModel",
    "QuantiseOptions",
    "Report",
    "Result",
    "RtlBackend",
    "Saliency",
    "Space",
    "Spaces",
    "Target",
    "__version__",
    "build_accelerator",
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
        "cgap.app.build": ("BuildRequest", "build_accelerator"),
        "cgap.app.export": ("export_run",),
        "cgap.app.plan": ("Planned", "Target", "plan_model"),
        "cgap.app.report": ("LoweringReport", "Report", "read_report"),
        "cgap.backends.common.backend": ("Backend", "Build", "Design", "LayerFigures", "Result"),
        "cgap.backends.hls.backend": ("HlsBackend",),
        "cgap.backends.rtl.backend": ("RtlBackend",),
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
