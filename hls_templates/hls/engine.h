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

#ifndef __SYNTHESIS__
#include "bench/processes.h"
#else
inline void pass_cycle() {}
inline void fill_pipeline() {}
inline void look_at_pages(const uint64_t *, uint32_t, Features) {}
inline void look_at_dram(uint32_t, uint32_t) {}
#endif

// A command of COMPUTE.
template <typename Movers>
inline void compute(const uint64_t words[COMPUTE_WORDS], Weights weights, Parameters parameters, Features features,
                    Movers &movers) {
#pragma HLS INLINE
  if (decode<Head>(words).opcode == CONVOLVE_OPCODE) {
    const Convolve command = decode<Convolve>(words);
    convolve(command, weights, parameters, features, movers);
  } else {
    const Pool command = decode<Pool>(words);
    pool(command, weights, parameters, features, movers);
  }
}

#ifndef SEQUENTIAL

// Cycles without a beat or a command after which the engine gives up.
constexpr uint32_t WATCHDOG = 1 << 20;

// LOAD and STORE inside the engine: in every cycle a beat that has arrived is written to its buffer, and a beat of a tile
// that is stored leaves. Nothing here ever waits, so no depth of the streams can stop the engine.
struct Movers {
  Counters before;
  Counters done;
  Staging<COMPUTE_WORDS> next_compute;
  Staging<STORE_WORDS> next_store;
  Loader loader;
  Storer storer;
  uint32_t stores;   // started
  uint32_t told;     // COMPUTE commands that the fetch knows to be completed
  bool giving;       // the next beat of the stored tile leaves in this cycle
  bool moved;        // something has happened in this cycle
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
#pragma HLS INLINE
    before = done = counters;
    told = before.compute;
    stores = before.store;
    next_compute.start(computes);
    next_store.start(store_commands);
    loader.clear();
    storer.clear();
    giving = moved = false;
  }

  // Whether the next command of COMPUTE may start or, without one, everything is done.
  bool may_compute(bool another, uint32_t all_loads, uint32_t all_stores) const {
    return another ? next_compute.ready && may_start(decode<Head>(next_compute.words), done)
                   : done.load == all_loads && done.store == all_stores;
  }

  // The first half of a cycle: what arrives, and which word of copy B leaves.
  void begin(Weights weights, Parameters parameters, PageRead &asked, PageWrite &loaded) {
#pragma HLS INLINE
    moved = false;
    asked = no_read();
    loaded = no_write();
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
    giving = false;
    if (storer.live) {
      giving = !leaving.full();
      if (giving) {
        asked = storer.ask();
      }
    } else if (next_store.ready && stores == done.store && may_start(decode<Head>(next_store.words), done) &&
               !orders.full()) {
      storer.start(decode<Store>(next_store.words));
      const Order order = {storer.command.dram, false};
      orders.write(order);
      command_started(UNIT_STORE, storer.command.head.layer);
      next_store.take();
      ++stores;
      moved = true;
    }
    if (told != done.compute && !computed.full()) {
      const Progress progress = {done.compute, false};
      computed.write(progress);
      told = done.compute;
    }
  }

  // The second half: the word that was read is there.
  void end(const Word &word) {
#pragma HLS INLINE
    if (giving) {
      leaving.write(storer.give(word));
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
#pragma HLS INLINE off
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
    bool ready = movers.may_compute(computes_next, all_loads, all_stores);
    loop_entered();
  wait_cycles:
    while (!ready && idle != WATCHDOG) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT max=TRIP_WAIT
#pragma HLS DEPENDENCE variable=features inter false
      PageRead asked;
      PageWrite loaded;
      movers.begin(weights, parameters, asked, loaded);
      Word none = no_word();
      Word word = no_word();
      read_copy_b(features, no_read(), asked, none, word);
      write_pages(features, no_write(), loaded);
      movers.end(word);
      idle = movers.moved ? 0 : idle + 1;
      ready = movers.may_compute(computes_next, all_loads, all_stores);
    }
    if (computes_next && ready) {
      uint64_t words[COMPUTE_WORDS];
#pragma HLS ARRAY_PARTITION variable=words complete
    take_words:
      for (int w = 0; w < COMPUTE_WORDS; ++w) {
#pragma HLS UNROLL
        words[w] = movers.next_compute.words[w];
      }
      movers.next_compute.take();
      command_started(UNIT_COMPUTE, decode<Head>(words).layer);
      compute(words, weights, parameters, features, movers);
      fill_pipeline();
      command_completed(UNIT_COMPUTE, i);
      look_at_pages(words, movers.done.compute, features);
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
  const Progress stop = {movers.done.compute, true};
  const Order last = {movers.storer.command.dram, true};
  computed.write(stop);
  orders.write(last);
}

#endif
#endif
