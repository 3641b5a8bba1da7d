// LOAD, outside: a process that reads DRAM for the LOAD commands and sends on what arrives.
#ifndef FETCH_H
#define FETCH_H

#include "transfer.h"

// What the engine tells the fetch: COMPUTE commands completed; at last, that all is over, and after how many of STORE.
struct Progress {
  uint32_t computed;
  uint32_t stored;
  bool stop;
};

typedef Stream<Progress, 2> ProgressStream;
typedef Stream<uint32_t, 2> CountStream;
typedef Stream<Load, 2> LoadStream;
typedef Stream<Beat, FIFO_BEATS> BeatStream;

// Executes one command at a time, as soon as what it waits for has completed. Bursts are requested ahead of data, as many
// as may be outstanding; then a beat a cycle goes to the engine. An iteration that waits for DRAM waits for nothing else.
struct Fetch {
  Staging<LOAD_WORDS> staged;
  Counters done;
  Progress told;
  bool active;
  bool reading; // requests are far enough ahead
  bool stopped;
  Load command;
  Bursts asked; // the next burst to request
  Bursts taken; // the burst that arrives
  uint16_t beat; // of it
  uint8_t open; // bursts requested and not complete

  void start(uint32_t commands, const Counters &before) {
    staged.start(commands);
    done = before;
    active = stopped = told.stop = false;
  }

  void step(const uint64_t *memory, const Bases &bases, ReadPort &port, ProgressStream &computed, CountStream &stored,
            LoadStream &loads, BeatStream &beats) {
    if (!computed.empty()) {
      told = computed.read();
      done.compute = told.computed;
    }
    if (!stored.empty()) {
      done.store = stored.read();
    }
    stopped = told.stop && done.store >= told.stored; // a count left in its stream would pass for one of the next image
    staged.step(memory);
    if (active) {
      transfer(port, beats);
    } else if (staged.ready && may_start(decode<Head>(staged.words), done) && !loads.full()) {
      command = decode<Load>(staged.words);
      loads.write(command);
      asked.start(command.dram, bases);
      taken.start(command.dram, bases);
      active = true;
      reading = false;
      beat = open = 0;
      staged.take();
      command_started(UNIT_LOAD, command.head.layer);
    }
  }

private:
  void transfer(ReadPort &port, BeatStream &beats) {
    const bool more = asked.live && open < OUTSTANDING;
    if (more) {
      port.read_request(asked.first, asked.beats);
      asked.next(command.dram);
      ++open;
    }
    reading = reading || !more;
    if (reading && !beats.full() && read_ready()) {
      beats.write(beat_of(port.read()));
      if (++beat == taken.beats) {
        beat = 0;
        --open;
        active = !taken.last_of_transfer();
        done.load += active ? 0 : 1;
        taken.next(command.dram);
      }
    }
  }
};

inline void fetch(const uint64_t memory[LOAD_COMMANDS * LOAD_WORDS], uint32_t commands, Counters before, Bases bases,
                  ReadPort port, ProgressStream &computed, CountStream &stored, LoadStream &loads, BeatStream &beats) {
#pragma HLS INLINE recursive
  Fetch state;
#pragma HLS ARRAY_PARTITION variable=state.staged.words complete
  state.start(commands, before);
fetch_cycles:
  while (!state.stopped) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT max=TRIP_NETWORK
    state.step(memory, bases, port, computed, stored, loads, beats);
  }
}

#endif
