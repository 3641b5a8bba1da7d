// Control: one image, by the three processes at once or, with SEQUENTIAL, by one whose units take turns.
#ifndef CONTROL_H
#define CONTROL_H

#ifdef SEQUENTIAL
#include "sequential.h"
#else
#include "engine.h"

// Run the commands of three units, from the counters `before` on: a command waits for as many commands of an image.
//
//   fetch --loads, beats--> engine --orders, beats--> write
//     ^--computed------------'  ^--------stored---------'|
//     '--------------------------------------stored------'
inline void run(const uint64_t *load_memory, uint32_t load_commands, const uint64_t *compute_memory, uint32_t computes,
                const uint64_t *store_memory, uint32_t store_commands, Counters before, Bases bases, ReadPort dram_read,
                WritePort dram_write, uint32_t &error) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
  LoadStream loads;
  BeatStream arriving;
  ProgressStream computed;
  OrderStream orders;
  BeatStream leaving;
  CountStream stored;     // to the fetch
  CountStream stored_too; // to the engine
#ifdef __SYNTHESIS__
  fetch(load_memory, load_commands, before, bases, dram_read, computed, stored, loads, arriving);
#else
  // The other processes take a step in every cycle of the engine.
  Neighbours others(load_memory, load_commands, before, bases, dram_read, dram_write, computed, stored, loads, arriving,
                    orders, leaving, stored_too);
#endif
  engine(compute_memory, computes, store_memory, store_commands, load_commands, before, loads, arriving, computed, orders,
         leaving, stored_too, error);
#ifdef __SYNTHESIS__
  write(before, bases, dram_write, orders, leaving, stored, stored_too);
#else
  others.finish();
#endif
}

#endif
#endif
