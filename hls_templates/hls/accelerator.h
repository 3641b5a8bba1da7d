// The accelerator's interface.
#ifndef ACCELERATOR_H
#define ACCELERATOR_H

#include "stream.h"

// Bits of `control`.
constexpr uint32_t START = 1;        // run one image
constexpr uint32_t LOAD_PROGRAM = 2; // read `program` into program memory; first, if both are set

// Returns 0, or an error (ERROR_* in engine.h). `program` is program.bin. `dram_read` and `dram_write` are both the first
// byte of DRAM; reads and writes have an AXI port each. A base is where a region begins, in bytes from there, a multiple
// of 4 KiB; the parameter region holds weights.bin, and what the others hold is in docs/microarchitecture.md, section 2.
// Compiled with -DPROGRAM_ROM, the accelerator has its program in it, and `program` is not read.
extern "C" uint32_t accelerator(uint32_t control, const uint64_t *program, ReadPort dram_read, WritePort dram_write,
                                uint64_t parameter_base, uint64_t input_base, uint64_t output_base,
                                uint64_t feature_base);

#endif
