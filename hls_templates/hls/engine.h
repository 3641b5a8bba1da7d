// The engine: the one process that owns all buffers. It computes, and moves a beat in and out in every cycle.
#ifndef ENGINE_H
#define ENGINE_H

#include "convolve.h"
#include "load.h"
#include "pool.h"
#include "store.h"
#include "transfer.h"
#ifndef SEQUENTIAL
#include "write.h"
#endif

// What a run can end with; docs/microarchitecture.md, section 10.
constexpr uint32_t DONE = 0;
constexpr uint32_t ERROR_HEADER = 1;
constexpr uint32_t ERROR_CHECKSUM = 2;
constexpr uint32_t ERROR_COMMAND = 3;
constexpr uint32_t ERROR_NO_PROGRAM = 7;
constexpr uint32_t ERROR_WATCHDOG = 8; // no unit can go on
constexpr uint32_t ERROR_BASE = 9;     // a base is no multiple of 4 KiB

#ifndef __SYNTHESIS__
#include "bench/processes.h"
#else
inline void pass_cycle() {}
inline void fill_pipeline() {}
inline void look_at_pages(uint32_t, uint32_t, const Destination &, Features) {}
inline void look_at_dram(uint32_t, uint32_t) {}
#endif

// A command of COMPUTE. Returns where it has written.
template <typename Movers>
inline Destination compute(const uint64_t words[COMPUTE_WORDS], Weights weights, Parameters parameters, Features features,
                           Movers &movers) {
  if (decode<Head>(words).opcode == CONVOLVE_OPCODE) {
    const Convolve command = decode<Convolve>(words);
    convolve(command, weights, parameters, features, movers);
    return command.destination;
  }
  const Pool command = decode<Pool>(words);
  pool(command, weights, parameters, features, movers);
  return command.destination;
}

#ifndef SEQUENTIAL

// Cycles without a beat or a command after which the engine gives up.
constexpr uint32_t WATCHDOG = 1 << 20;

// LOAD and STORE inside the engine: in every cycle a beat that has arrived is written to its buffer, and a beat of a tile
// that is stored leaves. Polls decide what is done, so no depth of the streams can stop the engine (docs/hls.md).
struct Movers {
  Counters before;
  Counters done;
  Staging<COMPUTE_WORDS> next_compute;
  Staging<STORE_WORDS> next_store;
  Loader loader;
  Storer storer;
  uint32_t stores;   // started
  uint32_t told;     // COMPUTE commands that the fetch knows to be completed
  bool moved;        // something has happened in this cycle
  PageRead asked;    // of copy B, for the beat that leaves in this cycle
  Word leaves;       // what was read for it
  PageWrite loaded;  // of the word that has arrived
  const uint64_t *compute_memory;
  const uint64_t *store_memory;
  LoadStream &loads;
  BeatStream &arriving;
  ProgressStream &computed;
  OrderStream &orders;
  BeatStream &leaving;
  CountStream &stored;

  Movers(const uint64_t *compute_memory, const uint64_t *store_memory, LoadStream &loads, BeatStream &arriving,
         ProgressStream &computed, OrderStream &orders, BeatStream &leaving, CountStream &stored)
      : compute_memory(compute_memory), store_memory(store_memory), loads(loads), arriving(arriving),
        computed(computed), orders(orders), leaving(leaving), stored(stored) {}

  void start(uint32_t computes, uint32_t store_commands, const Counters &counters) {
    before = done = counters;
    told = before.compute;
    stores = before.store;
    next_compute.start(computes);
    next_store.start(store_commands);
    loader.live = storer.live = moved = false;
  }

  // Whether the next command of COMPUTE may start or, without one, everything is done.
  bool may_compute(bool another, uint32_t all_loads, uint32_t all_stores) const {
    return another ? next_compute.ready && may_start(decode<Head>(next_compute.words), done)
                   : done.load == all_loads && done.store == all_stores;
  }

  // A cycle begins: what arrives, and which word is to leave.
  void begin(Weights weights, Parameters parameters) {
    moved = false;
    asked = PageRead();
    loaded = PageWrite();
    next_compute.step(compute_memory);
    next_store.step(store_memory);
    if (!loader.live) {
      if (!loads.empty()) {
        loader.start(loads.read());
        moved = true;
      }
    } else if (!arriving.empty()) {
      loader.take(arriving.read(), weights, parameters, loaded);
      moved = true;
      if (!loader.live) {
        command_completed(UNIT_LOAD, done.load - before.load);
        ++done.load;
      }
    }
    if (!stored.empty()) {
      done.store = stored.read();
      moved = true;
      command_completed(UNIT_STORE, done.store - before.store - 1);
      look_at_dram(storer.command.head.layer, done.store - 1);
    }
    if (storer.live) {
      asked = leaving.full() ? PageRead() : storer.ask();
    } else if (next_store.ready && stores == done.store && may_start(decode<Head>(next_store.words), done) &&
               !orders.full()) {
      storer.start(decode<Store>(next_store.words));
      orders.write({storer.command.dram, false});
      command_started(UNIT_STORE, storer.command.head.layer);
      next_store.take();
      ++stores;
      moved = true;
    }
    if (told != done.compute && !computed.full()) {
      computed.write({done.compute, done.store, false});
      told = done.compute;
    }
  }

  // The reads of copy B: returns the word that the computation wants.
  Word read_word(Features features, const PageRead &wanted) {
    Word word = Word();
    read_copy_b(features, wanted, asked, word, leaves);
    return word;
  }

  // It ends: the writes of the pages, and the beat that leaves.
  void end(Features features, const PageWrite &made) {
    write_pages(features, made, loaded);
    if (asked.live) {
      leaving.write(storer.give(leaves));
      moved = true;
    }
    pass_cycle();
  }
};

// Runs the COMPUTE commands one after the other. Each is one loop of a cycle an iteration; between two of them another such
// loop waits for what the next one waits for, and after the last for all that is under way.
inline void engine(const uint64_t compute_memory[COMPUTE_COMMANDS * COMPUTE_WORDS], uint32_t computes,
                   const uint64_t store_memory[STORE_COMMANDS * STORE_WORDS], uint32_t store_commands,
                   uint32_t load_commands, Counters before, LoadStream &loads, BeatStream &arriving,
                   ProgressStream &computed, OrderStream &orders, BeatStream &leaving, CountStream &stored,
                   uint32_t &error) {
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
#pragma HLS BIND_STORAGE variable=features type=RAM_S2P impl=BRAM
#pragma HLS BIND_STORAGE variable=weights type=RAM_S2P impl=BRAM
#pragma HLS BIND_STORAGE variable=parameters type=RAM_S2P impl=BRAM
  const uint32_t all_loads = before.load + load_commands;
  const uint32_t all_stores = before.store + store_commands;
  Movers movers(compute_memory, store_memory, loads, arriving, computed, orders, leaving, stored);
#pragma HLS ARRAY_PARTITION variable=movers.next_compute.words complete
#pragma HLS ARRAY_PARTITION variable=movers.next_store.words complete
#pragma HLS ARRAY_PARTITION variable=movers.loader.word complete
#pragma HLS ARRAY_PARTITION variable=movers.loader.weight complete
  movers.start(computes, store_commands, before);
  uint32_t idle = 0;
commands:
  for (uint32_t i = 0; i <= computes; ++i) {
#pragma HLS LOOP_TRIPCOUNT max=TRIP_COMPUTES
    const bool computes_next = i != computes;
    loop_entered();
  wait_cycles:
    while (!movers.may_compute(computes_next, all_loads, all_stores) && idle != WATCHDOG) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT max=TRIP_WAIT
#pragma HLS DEPENDENCE variable=features inter false
      movers.begin(weights, parameters);
      movers.read_word(features, PageRead());
      movers.end(features, PageWrite());
      idle = movers.moved ? 0 : idle + 1;
    }
    if (computes_next && idle != WATCHDOG) {
      const uint16_t layer = decode<Head>(movers.next_compute.words).layer;
      command_started(UNIT_COMPUTE, layer);
      movers.next_compute.take();
      const Destination made = compute(movers.next_compute.words, weights, parameters, features, movers);
      fill_pipeline();
      command_completed(UNIT_COMPUTE, i);
      look_at_pages(layer, movers.done.compute, made, features);
      ++movers.done.compute;
      idle = 0;
    }
  }
  error = idle == WATCHDOG ? ERROR_WATCHDOG : DONE;
stop_cycles:
  while (computed.full() || orders.full()) {
#pragma HLS LOOP_TRIPCOUNT max=4
    pass_cycle();
  }
  computed.write({movers.done.compute, movers.done.store, true});
  orders.write({movers.storer.command.dram, true});
}

#endif
#endif
