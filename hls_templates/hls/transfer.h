// What both AXI processes need: commands staged from program memory, and transfers cut into bursts.
#ifndef TRANSFER_H
#define TRANSFER_H

#include "command.h"
#include "stream.h"

// First bytes of the DRAM regions, by the number that commands hold: parameters, input, output, feature maps.
struct Bases {
  uint64_t region[4];
};
inline bool aligned(const Bases &b) { return ((b.region[0] | b.region[1] | b.region[2] | b.region[3]) & 4095) == 0; }

// Commands that each unit has completed.
struct Counters {
  uint32_t load;
  uint32_t compute;
  uint32_t store;
};

inline bool may_start(const Head &head, const Counters &done) {
  return done.compute >= head.wait_compute && done.load >= head.wait_load && done.store >= head.wait_store;
}

// The next command of a unit: read from program memory a word a cycle while the one before it is executed.
template <int WORDS> struct Staging {
  uint64_t words[WORDS];
  uint8_t held;
  bool ready;    // a whole command is held
  uint32_t next; // word
  uint32_t end;

  void start(uint32_t commands) {
    held = 0;
    ready = false;
    next = 0;
    end = commands * WORDS;
  }

  void step(const uint64_t *memory) {
    if (!ready && next != end) {
      const uint64_t word = memory[next];
      for (int i = 0; i + 1 < WORDS; ++i) {
        words[i] = words[i + 1];
      }
      words[WORDS - 1] = word;
      ready = held == WORDS - 1;
      held = uint8_t(held + 1);
      ++next;
    }
  }

  void take() {
    held = 0;
    ready = false;
  }
};

// The bursts of a transfer: its runs, cut where an address is a multiple of a burst's bytes.
struct Bursts {
  bool live;
  uint64_t run;   // first beat of the run
  uint64_t first; // of the burst
  uint32_t left;  // beats of the run from there on
  uint16_t runs;  // left
  uint16_t beats; // of the burst

  void start(const Transfer &dram, const Bases &bases) {
    live = true;
    run = first = (bases.region[dram.region] + dram.address) / BEAT_BYTES;
    left = dram.beats;
    runs = dram.runs;
    cut();
  }

  bool last_of_transfer() const { return runs == 1 && left == beats; }

  void next(const Transfer &dram) {
    const bool run_ends = left == beats;
    first += beats;
    left -= beats;
    if (run_ends) {
      run += dram.stride / BEAT_BYTES;
      first = run;
      left = dram.beats;
      live = runs != 1;
      runs = uint16_t(runs - 1);
    }
    cut();
  }

private:
  void cut() {
    const uint32_t room = BURST_BEATS - uint32_t(first & (BURST_BEATS - 1));
    beats = uint16_t(left < room ? left : room);
  }
};

#endif
