"""The one accelerator: its parameters, platform, instruction set and timing (docs/microarchitecture.md)."""
