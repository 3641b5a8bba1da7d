// C simulation's stand-ins for streams and AXI ports, its clock, and the DRAM that answers in time.
#ifndef SIMULATION_H
#define SIMULATION_H

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

// A function that is called seldom: apart from the loop that calls it, which then has more registers for itself.
#if defined(__GNUC__)
#define CSIM_NOINLINE __attribute__((noinline))
#else
#define CSIM_NOINLINE
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
// unpack() as the copy that it is on this host, where compilers make vectors of copies and not of shifts.
template <int BYTES, typename Byte> inline void unpack(const uint32_t &number, Byte *bytes) {
  std::memcpy(bytes, &number, BYTES);
}
template <int BYTES, typename Byte> inline void unpack(const uint64_t &number, Byte *bytes) {
  std::memcpy(bytes, &number, BYTES);
}
#endif

inline void expect(bool holds, const char *what) {
  if (!holds) {
    std::fprintf(stderr, "simulation: %s\n", what);
    std::abort();
  }
}

// When a command started and completed.
struct Event {
  uint32_t layer;
  uint64_t start;
  uint64_t done;
  uint64_t beats; // moved
};

// When DRAM has the beats of the bursts that were requested, by docs/microarchitecture.md, section 4.
class ReadTiming {
public:
  void request(uint64_t now, unsigned beats) {
    const uint64_t earliest = now + READ_LATENCY;
    const Burst burst = {earliest > free_ ? earliest : free_, beats};
    free_ = burst.first + (uint64_t(beats) * BEAT_INTERVAL + 255) / 256 + BURST_GAP;
    bursts_[(head_ + count_++) % OUTSTANDING] = burst;
  }
  bool ready(uint64_t now) const {
    return count_ != 0 && now >= bursts_[head_].first + (uint64_t(taken_) * BEAT_INTERVAL >> 8);
  }
  void take() {
    if (++taken_ == bursts_[head_].beats) {
      taken_ = 0;
      head_ = (head_ + 1) % OUTSTANDING;
      --count_;
    }
  }

private:
  struct Burst {
    uint64_t first;
    unsigned beats;
  };
  Burst bursts_[OUTSTANDING];
  int head_ = 0;
  int count_ = 0;
  unsigned taken_ = 0;
  uint64_t free_ = 0;
};

// When it takes beats and has stored them, by section 7.
class WriteTiming {
public:
  void request(unsigned beats) { beats_[(head_ + count_++) % OUTSTANDING] = beats; }
  bool ready(uint64_t now) const {
    return count_ != 0 && now >= (taken_ == 0 ? free_ : first_ + (uint64_t(taken_) * BEAT_INTERVAL >> 8));
  }
  void take(uint64_t now) {
    if (taken_ == 0) {
      first_ = now;
    }
    const unsigned beats = beats_[head_];
    if (++taken_ == beats) {
      taken_ = 0;
      head_ = (head_ + 1) % OUTSTANDING;
      --count_;
      free_ = first_ + (uint64_t(beats) * BEAT_INTERVAL + 255) / 256 + BURST_GAP;
      answers_[(first_answer_ + unanswered_++) % OUTSTANDING] = now + WRITE_LATENCY;
    }
  }
  bool answered(uint64_t now) const { return unanswered_ != 0 && now >= answers_[first_answer_]; }
  void answer() {
    first_answer_ = (first_answer_ + 1) % OUTSTANDING;
    --unanswered_;
  }

private:
  unsigned beats_[OUTSTANDING];
  uint64_t answers_[OUTSTANDING];
  int head_ = 0;
  int count_ = 0;
  int first_answer_ = 0;
  int unanswered_ = 0;
  unsigned taken_ = 0;
  uint64_t first_ = 0;
  uint64_t free_ = 0;
};

// C simulation's clock: an iteration of the engine's loops is a cycle, in which the other processes take a step, too.
struct Simulation {
  uint64_t now = 0;
  int fifo = 0;          // depth of streams of beats; 0: as built
  uint32_t starvation = 0; // share of 2^32 of the looks at a stream that find it neither filled nor free
  uint32_t random = 1;
  std::vector<Event> events[3]; // LOAD, COMPUTE, STORE
  ReadTiming reads;
  WriteTiming writes;

  void begin_image() {
    now = 0;
    reads = ReadTiming();
    writes = WriteTiming();
    for (std::vector<Event> &unit : events) {
      unit.clear();
    }
  }
  CSIM_NOINLINE bool starves() {
    random ^= random << 13;
    random ^= random >> 17;
    random ^= random << 5;
    return random < starvation;
  }
};
extern Simulation simulation;

// Stands in for hls::stream: a queue whose entries are seen in the cycle after they were written.
template <typename T, int DEPTH> class Stream {
public:
  bool empty() const {
    return count_ == 0 || times_[head_] >= simulation.now || (simulation.starvation != 0 && simulation.starves());
  }
  bool full() const { return count_ >= depth() || (simulation.starvation != 0 && simulation.starves()); }
  bool filled() const { return count_ != 0; } // whether or not it is seen already
  T read() {
    expect(count_ != 0, "an empty stream is read");
    const T value = values_[head_];
    head_ = head_ + 1 == DEPTH ? 0 : head_ + 1;
    --count_;
    return value;
  }
  void write(const T &value) {
    expect(count_ < depth(), "a full stream is written");
    const int at = head_ + count_ >= DEPTH ? head_ + count_ - DEPTH : head_ + count_;
    values_[at] = value;
    times_[at] = simulation.now;
    ++count_;
  }

private:
  static int depth() { return simulation.fifo > 0 && simulation.fifo < DEPTH ? simulation.fifo : DEPTH; }

  T values_[DEPTH];
  uint64_t times_[DEPTH];
  int head_ = 0;
  int count_ = 0;
};

#if !defined(SEQUENTIAL) && !defined(VITIS_PORTS)
// Stands in for hls::burst_maxi: data may be read or written only as it was requested, and in DRAM's time.
class BurstPort {
public:
  BurstPort(beat_t *memory) : memory_(memory) {}

  void read_request(size_t first, unsigned beats) {
    request(first, beats);
    simulation.reads.request(simulation.now, beats);
  }
  beat_t read() {
    simulation.reads.take();
    ++simulation.events[UNIT_LOAD].back().beats;
    return memory_[next()];
  }
  void write_request(size_t first, unsigned beats) {
    request(first, beats);
    simulation.writes.request(beats);
  }
  void write(const beat_t &beat) {
    simulation.writes.take(simulation.now);
    ++simulation.events[UNIT_STORE].back().beats;
    memory_[next()] = beat;
    unanswered_ += begun_ == 0 ? 1 : 0;
  }
  void write_response() {
    expect(unanswered_ != 0, "a response without a burst");
    --unanswered_;
    simulation.writes.answer();
  }

private:
  struct Burst {
    size_t first;
    unsigned beats;
  };
  void request(size_t first, unsigned beats) {
    expect(beats != 0 && beats <= BURST_BEATS, "a burst that is empty or too long");
    expect(first / BURST_BEATS == (first + beats - 1) / BURST_BEATS, "a burst that crosses its boundary");
    expect(count_ < OUTSTANDING, "more bursts than may be outstanding");
    const Burst burst = {first, beats};
    bursts_[(head_ + count_++) % OUTSTANDING] = burst;
  }
  size_t next() {
    expect(count_ != 0, "a beat that was not requested");
    const Burst &burst = bursts_[head_];
    const size_t at = burst.first + begun_;
    if (++begun_ == burst.beats) {
      begun_ = 0;
      head_ = (head_ + 1) % OUTSTANDING;
      --count_;
    }
    return at;
  }

  beat_t *memory_;
  Burst bursts_[OUTSTANDING];
  int head_ = 0;
  int count_ = 0;
  unsigned begun_ = 0;
  unsigned unanswered_ = 0;
};
typedef BurstPort ReadPort;
typedef BurstPort WritePort;
#endif

// What the hardware's code calls (hooks.h). The vendor's ports have their data at once.
#ifdef VITIS_PORTS
inline bool read_ready() { return true; }
inline bool write_ready() { return true; }
inline bool write_answered() { return true; }
#else
inline bool read_ready() { return simulation.reads.ready(simulation.now); }
inline bool write_ready() { return simulation.writes.ready(simulation.now); }
inline bool write_answered() { return simulation.writes.answered(simulation.now); }
#endif
CSIM_NOINLINE inline void command_started(Unit unit, uint32_t layer) {
  const Event event = {layer, simulation.now, 0, 0};
  simulation.events[unit].push_back(event);
}
// A transfer completes in a cycle that is still going on, a computation with the cycle before.
CSIM_NOINLINE inline void command_completed(Unit unit, uint32_t index) {
  simulation.events[unit][index].done = unit == UNIT_COMPUTE ? simulation.now - 1 : simulation.now;
}

#ifdef CHECK_PORTS
// Proof of what ports and DEPENDENCE pragmas claim: two units never want one port in a cycle, and nothing that is read inside
// a loop was written inside the same run of it.
struct PortCheck {
  uint32_t loop = 1;
  uint32_t written[PAGES][POY][2][PAGE_DEPTH] = {};
};
static PortCheck port_check;

inline void loop_entered() { ++port_check.loop; }
inline void half_read(int page, int bank, int half, uint32_t address) {
  expect(port_check.written[page][bank][half][address] != port_check.loop, "a word is read in the loop that wrote it");
}
inline void half_written(int page, int bank, int half, uint32_t address) {
  port_check.written[page][bank][half][address] = port_check.loop;
}
// Whether the computation and a mover want the same port of a page, each if it wants any.
inline void ports_wanted(bool computation, int page, bool mover, int moved_page) {
  expect(!computation || !mover || page != moved_page, "two units want one port of a page");
}
#else
inline void loop_entered() {}
inline void half_read(int, int, int, uint32_t) {}
inline void half_written(int, int, int, uint32_t) {}
inline void ports_wanted(bool, int, bool, int) {}
#endif

#endif
