"""The accelerator in SystemVerilog, and its simulation by Verilator."""
