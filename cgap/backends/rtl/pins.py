"""The accelerator on six pins, for placement and routing without a system around it.

An ECP5 in a usual package has fewer pins than the AXI ports need. Inputs come from a chain of registers and outputs go
through another, so that nothing is optimised away and every path of the accelerator begins and ends at a register.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

TOP = "pins"
_OWN = ("clk_i", "rst_ni", "irq_o")


def pins_wrapper(accelerator: str) -> str:
    """SystemVerilog of the module `pins`, with the parameters of the accelerator, from the text of `accelerator.sv`."""
    head, ports = re.findall(r"module accelerator #\(\n(.*?)\n\) \(\n(.*?)\n\);", accelerator, re.DOTALL)[0]
    parameters = re.findall(r"parameter .*?(\w+) =", head)
    inputs: list[str] = []
    outputs: list[str] = []
    wires: list[str] = []
    for direction, width, name in re.findall(r"^\s*(input|output)\s+logic\s*(\[.*\])?\s+(\w+),?$", ports, re.MULTILINE):
        if name not in _OWN:
            (inputs if direction == "input" else outputs).append(name)
            wires.append(f"  logic {width + ' ' if width else ''}{name};")
    connections = [f".{name}({name})" for name in parameters]
    return "\n".join(
        [
            f"module {TOP} #(",
            head,
            ") (",
            "  input  logic clk_i,",
            "  input  logic rst_ni,",
            "  input  logic shift_i,",
            "  input  logic serial_i,",
            "  output logic serial_o,",
            "  output logic irq_o",
            ");",
            *wires,
            f"  localparam int unsigned Inputs = $bits({_joined(inputs)});",
            f"  localparam int unsigned Outputs = $bits({_joined(outputs)});",
            "  logic [Inputs-1:0] inputs_q;",
            "  logic [Outputs-1:0] outputs_q;",
            "  always_ff @(posedge clk_i) begin",
            "    if (shift_i) inputs_q <= {inputs_q[Inputs-2:0], serial_i};",
            "    if (shift_i) outputs_q <= {outputs_q[Outputs-2:0], inputs_q[Inputs-1]};",
            f"    else outputs_q <= {_joined(outputs)};",
            "  end",
            f"  assign {_joined(inputs)} = inputs_q;",
            "  assign serial_o = outputs_q[Outputs-1];",
            f"  accelerator #({', '.join(connections)}) u_accelerator (",
            f"    {', '.join('.' + name for name in (*_OWN, *inputs, *outputs))}",
            "  );",
            "endmodule",
            "",
        ]
    )


def _joined(names: Sequence[str]) -> str:
    return "{" + ", ".join(names) + "}"
