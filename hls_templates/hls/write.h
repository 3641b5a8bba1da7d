// STORE, outside: a process that writes to DRAM what the engine sends, and says when it is there.
#ifndef WRITE_H
#define WRITE_H

#include "fetch.h"

// A STORE command's transfer; at last, that all is over.
struct Order {
  Transfer dram;
  bool stop;
};

typedef Stream<Order, 2> OrderStream;

// Executes one transfer at a time. A burst is requested while the one before it is written, so that a beat can leave in every
// cycle; a transfer is complete with the last response.
struct Writer {
  Transfer dram;
  bool active;
  bool stopped;
  Bursts asked;  // the next burst to request
  Bursts given;  // the burst that is written
  uint16_t beat; // of it
  uint8_t ahead; // bursts requested and not written
  uint8_t open;  // bursts requested and not answered
  uint32_t done; // STORE commands of this image
  uint32_t told; // of them, those that the fetch and the engine know of: both at once, as the last ends both

  void start(const Counters &before) {
    active = stopped = false;
    beat = ahead = open = 0;
    done = told = before.store;
  }

  // Whether a response is next: nothing is left to write, or no more bursts may be open.
  bool waits() const {
    return active && (!given.live || (asked.live && ahead < 2 && open == OUTSTANDING && open != ahead));
  }

  void step(const Bases &bases, WritePort &port, OrderStream &orders, BeatStream &beats) {
    if (!active && !orders.empty()) {
      const Order order = orders.read();
      dram = order.dram;
      stopped = order.stop;
      active = !stopped;
      asked.start(dram, bases);
      given.start(dram, bases);
    } else if (active) {
      if (asked.live && ahead < 2 && open < OUTSTANDING) {
        port.write_request(asked.first, asked.beats);
        asked.next(dram);
        ++ahead;
        ++open;
      }
      if (!beats.empty() && write_ready()) {
        port.write(bits_of(beats.read()));
        if (++beat == given.beats) {
          beat = 0;
          --ahead;
          given.next(dram);
        }
      }
    }
  }

  void answer(WritePort &port) {
    if (write_answered()) {
      port.write_response();
      --open;
      active = given.live || open != 0;
      done += active ? 0 : 1;
    }
  }

  void tell(CountStream &to_fetch, CountStream &to_engine) {
    if (told != done && !to_fetch.full() && !to_engine.full()) {
      to_fetch.write(done);
      to_engine.write(done);
      told = done;
    }
  }
};

// Responses and the news of them have loops of their own: a response has no value that a write to a stream would wait for,
// so in one loop a tool could announce a STORE before its response has come.
inline void write(Counters before, Bases bases, WritePort port, OrderStream &orders, BeatStream &beats,
                  CountStream &to_fetch, CountStream &to_engine) {
#pragma HLS INLINE recursive
  Writer state;
  state.start(before);
transfers:
  while (!state.stopped) {
#pragma HLS LOOP_TRIPCOUNT max=TRIP_COMMANDS
  write_cycles:
    while (!state.stopped && !state.waits()) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT max=TRIP_NETWORK
      state.step(bases, port, orders, beats);
    }
  answers:
    while (state.waits()) {
#pragma HLS PIPELINE off
#pragma HLS LOOP_TRIPCOUNT max=OUTSTANDING
      state.answer(port);
    }
  tells:
    while (state.told != state.done) {
#pragma HLS PIPELINE off
#pragma HLS LOOP_TRIPCOUNT max=1
      state.tell(to_fetch, to_engine);
    }
  }
}

#endif
