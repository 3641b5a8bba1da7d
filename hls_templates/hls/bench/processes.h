// What C simulation sees of the engine, and the two processes beside it.
#ifndef PROCESSES_H
#define PROCESSES_H

// Lets a test bench see the pages after the `index`-th command of COMPUTE, with its destination, or of STORE, with null.
// Null: nobody looks.
typedef void (*Probe)(uint32_t layer, uint32_t index, const Destination *destination, Features features);
extern Probe probe;

CSIM_NOINLINE inline void look_at_pages(uint32_t layer, uint32_t index, const Destination &made, Features features) {
  if (probe != nullptr) {
    probe(layer, index, &made, features);
  }
}

CSIM_NOINLINE inline void look_at_dram(uint32_t layer, uint32_t index) {
  if (probe != nullptr) {
    probe(layer, index, nullptr, nullptr);
  }
}

#ifndef SEQUENTIAL
// They take a step in every cycle of the engine.
class Neighbours {
public:
  Neighbours(const uint64_t *load_memory, uint32_t load_commands, const Counters &before, const Bases &bases,
             ReadPort &read_port, WritePort &write_port, ProgressStream &computed, CountStream &stored, LoadStream &loads,
             BeatStream &arriving, OrderStream &orders, BeatStream &leaving, CountStream &stored_too)
      : load_memory_(load_memory), bases_(bases), read_port_(read_port), write_port_(write_port), computed_(computed),
        stored_(stored), loads_(loads), arriving_(arriving), orders_(orders), leaving_(leaving), stored_too_(stored_too) {
    fetch_.start(load_commands, before);
    writer_.start(before);
    current() = this;
    simulation.begin_image();
  }
  Neighbours(const Neighbours &) = delete;
  Neighbours &operator=(const Neighbours &) = delete;

  static Neighbours *&current() {
    static Neighbours *neighbours = nullptr;
    return neighbours;
  }
  // A process that waits for another does nothing until a stream brings it something.
  void step() {
    if (!fetch_.stopped && (!fetch_waits_ || computed_.filled() || stored_.filled())) {
      step_fetch();
    }
    if (!writer_.stopped && (!writer_waits_ || orders_.filled())) {
      step_writer();
    }
    ++simulation.now;
  }
  // The engine has told both to stop. In hardware a stream would keep for the next image what is left in it.
  void finish() {
    for (int cycle = 0; !fetch_.stopped || !writer_.stopped; ++cycle) {
      expect(cycle < 1000000, "the AXI processes do not end");
      step();
    }
    expect(!computed_.filled() && !stored_.filled() && !stored_too_.filled(), "a count is left in its stream");
    expect(!loads_.filled() && !arriving_.filled() && !orders_.filled() && !leaving_.filled(), "a stream is not empty");
    current() = nullptr;
  }

private:
  CSIM_NOINLINE void step_fetch() {
    fetch_.step(load_memory_, bases_, read_port_, computed_, stored_, loads_, arriving_);
    const Staging<LOAD_WORDS> &next = fetch_.staged;
    fetch_waits_ = !fetch_.active && (next.ready ? !may_start(decode<Head>(next.words), fetch_.done) : next.next == next.end);
  }
  CSIM_NOINLINE void step_writer() {
    if (writer_.waits()) {
      writer_.answer(write_port_);
    } else {
      writer_.step(bases_, write_port_, orders_, leaving_);
    }
    writer_.tell(stored_, stored_too_);
    writer_waits_ = !writer_.active && writer_.told == writer_.done;
  }

  Fetch fetch_ = Fetch();
  Writer writer_ = Writer();
  bool fetch_waits_ = false;
  bool writer_waits_ = false;
  const uint64_t *load_memory_;
  Bases bases_;
  ReadPort &read_port_;
  WritePort &write_port_;
  ProgressStream &computed_;
  CountStream &stored_;
  LoadStream &loads_;
  BeatStream &arriving_;
  OrderStream &orders_;
  BeatStream &leaving_;
  CountStream &stored_too_;
};

// A cycle of the engine is over.
inline void pass_cycle() { Neighbours::current()->step(); }

// A pipeline fills and empties: the engine moves no beat meanwhile.
inline void fill_pipeline() {
  for (int cycle = 0; cycle < LOOP_CYCLES; ++cycle) {
    pass_cycle();
  }
}
#endif

#endif
