// One image where units take turns: for Vivado HLS, which has no manual bursts. Time is the sum of the commands' times.
#ifndef SEQUENTIAL_H
#define SEQUENTIAL_H

#include "engine.h"

// LOAD and STORE where units take turns: nothing moves while COMPUTE runs.
struct NoMovers {
  void begin(Weights, Parameters) {}
  Word read_word(Features features, const PageRead &wanted) {
    Word word = Word();
    Word none = Word();
    read_copy_b(features, wanted, PageRead(), word, none);
    return word;
  }
  void end(Features features, const PageWrite &made) { write_pages(features, made, PageWrite()); }
};

// The first beat of a transfer.
inline uint64_t first_beat(const Transfer &dram, const Bases &bases) {
  return (bases.region[dram.region] + dram.address) / BEAT_BYTES;
}

inline void load_tile(const Load &command, const beat_t *run, Weights weights, Parameters parameters, Features features) {
  Loader loader;
#pragma HLS ARRAY_PARTITION variable=loader.word complete
#pragma HLS ARRAY_PARTITION variable=loader.weight complete
  loader.start(command);
  loop_entered();
load_runs:
  for (int i = 0; i < command.dram.runs; ++i) {
#pragma HLS LOOP_TRIPCOUNT max=TRIP_RUNS
  load_beats:
    for (uint32_t b = 0; b < command.dram.beats; ++b) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT max=TRIP_BEATS
      PageWrite write = PageWrite();
      loader.take(beat_of(run[b]), weights, parameters, write);
      write_pages(features, PageWrite(), write);
    }
    run += command.dram.stride / BEAT_BYTES;
  }
}

inline void store_tile(const Store &command, beat_t *run, Features features) {
  Storer storer;
  storer.start(command);
  loop_entered();
store_runs:
  for (int i = 0; i < command.dram.runs; ++i) {
#pragma HLS LOOP_TRIPCOUNT max=TRIP_RUNS
  store_beats:
    for (uint32_t b = 0; b < command.dram.beats; ++b) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT max=TRIP_BEATS
      Word none = Word();
      Word word = Word();
      read_copy_b(features, PageRead(), storer.ask(), none, word);
      run[b] = bits_of(storer.give(word));
    }
    run += command.dram.stride / BEAT_BYTES;
  }
}

// The next command of a unit.
template <int WORDS> inline void take_command(const uint64_t *memory, uint32_t command, uint64_t words[WORDS]) {
command_words:
  for (int i = 0; i < WORDS; ++i) {
#pragma HLS PIPELINE II=1
    words[i] = memory[command * WORDS + uint32_t(i)];
  }
}

// The counterpart of `run` in control.h: one command at a time, whichever may start. Waits alone decide the order.
inline void run(const uint64_t *load_memory, uint32_t load_commands, const uint64_t *compute_memory, uint32_t computes,
                const uint64_t *store_memory, uint32_t store_commands, Counters before, Bases bases, ReadPort dram_read,
                WritePort dram_write, uint32_t &error) {
#pragma HLS INLINE recursive
  static Features features;
  static Weights weights;
  static Parameters parameters;
#pragma HLS ARRAY_PARTITION variable=features complete dim=1
#pragma HLS ARRAY_PARTITION variable=features complete dim=2
#pragma HLS ARRAY_PARTITION variable=features complete dim=3
#pragma HLS ARRAY_PARTITION variable=features complete dim=4
#pragma HLS ARRAY_PARTITION variable=weights complete dim=1
#pragma HLS ARRAY_PARTITION variable=parameters complete dim=1
#pragma HLS RESOURCE variable=features core=RAM_S2P_BRAM
#pragma HLS RESOURCE variable=weights core=RAM_S2P_BRAM
#pragma HLS RESOURCE variable=parameters core=RAM_S2P_BRAM
  NoMovers movers;
  Counters done = before;
  const uint32_t all_loads = before.load + load_commands;
  const uint32_t all_computes = before.compute + computes;
  const uint32_t all_stores = before.store + store_commands;
  error = DONE;
commands:
  while (error == DONE && (done.load != all_loads || done.compute != all_computes || done.store != all_stores)) {
#pragma HLS LOOP_TRIPCOUNT max=TRIP_COMMANDS
    uint64_t load_words[LOAD_WORDS];
    uint64_t words[COMPUTE_WORDS];
    uint64_t store_words[STORE_WORDS];
    const uint32_t load = done.load - before.load;
    const uint32_t compute_command = done.compute - before.compute;
    const uint32_t store = done.store - before.store;
    if (load != load_commands && may_start(decode<Head>(load_memory + load * LOAD_WORDS), done)) {
      take_command<LOAD_WORDS>(load_memory, load, load_words);
      const Load command = decode<Load>(load_words);
      load_tile(command, dram_read + first_beat(command.dram, bases), weights, parameters, features);
      ++done.load;
    } else if (compute_command != computes && may_start(decode<Head>(compute_memory + compute_command * COMPUTE_WORDS), done)) {
      take_command<COMPUTE_WORDS>(compute_memory, compute_command, words);
      const Destination made = compute(words, weights, parameters, features, movers);
      look_at_pages(decode<Head>(words).layer, done.compute, made, features);
      ++done.compute;
    } else if (store != store_commands && may_start(decode<Head>(store_memory + store * STORE_WORDS), done)) {
      take_command<STORE_WORDS>(store_memory, store, store_words);
      const Store command = decode<Store>(store_words);
      store_tile(command, dram_write + first_beat(command.dram, bases), features);
      look_at_dram(command.head.layer, done.store);
      ++done.store;
    } else {
      error = ERROR_WATCHDOG;
    }
  }
}

#endif
