// Where C simulation looks into the hardware's code, and holds back data that DRAM would not have yet.
#ifndef HOOKS_H
#define HOOKS_H

#include "types.h"

enum Unit { UNIT_LOAD, UNIT_COMPUTE, UNIT_STORE };

#ifndef __SYNTHESIS__
#include "bench/simulation.h"
#else
// In hardware all of this is nothing: a port without data stalls its process.
#define CSIM_NOINLINE
inline bool read_ready() { return true; }
inline bool write_ready() { return true; }
inline bool write_answered() { return true; }
inline void command_started(Unit, uint32_t) {}
inline void command_completed(Unit, uint32_t) {}
inline void loop_entered() {}
inline void half_read(int, int, int, uint32_t) {}
inline void half_written(int, int, int, uint32_t) {}
inline void ports_wanted(bool, int, bool, int) {}
#endif

#endif
