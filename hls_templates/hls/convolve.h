// A convolution command: the array sums group g+1 while the drain writes group g.
#ifndef CONVOLVE_H
#define CONVOLVE_H

#include "array.h"
#include "drain.h"

// A group of the array takes so many cycles at least, so that its sums can be handed over.
constexpr uint8_t GROUP_CYCLES = 4;

// One flattened loop of single cycles. In each of them the array does one cycle of a step, one word of every row of the
// next step's line is read, and the drain handles one row of one map of the group before. A group whose drain lasts
// longer than the next group's sums holds the array. `movers` are LOAD and STORE, which go on meanwhile.
template <typename Movers>
inline void convolve(const Convolve &command, Weights weights, Parameters parameters, Features features, Movers &movers) {
  half_word_t line[LINE_HALVES][POY] = {};      // pixel 0 is under the array's first column
  half_word_t next_line[NEXT_HALVES][POY] = {}; // whole words, not yet aligned
  sum_t sums[POF][POY * POX] = {};              // of the group that the array works on
  sum_t drained[POF][POY][POX];                 // of the group that the drain works on, row by row of one map
#pragma HLS ARRAY_PARTITION variable=line complete dim=0
#pragma HLS ARRAY_PARTITION variable=next_line complete dim=0
#pragma HLS ARRAY_PARTITION variable=sums complete dim=0
#pragma HLS ARRAY_PARTITION variable=drained complete dim=0
  LineFetch fetch; // the step whose line is being read
#pragma HLS ARRAY_PARTITION variable=fetch.offsets complete
#pragma HLS ARRAY_PARTITION variable=fetch.inside complete
  fetch.start(command);
  Step summed = Step(); // the step before it, whose line the array takes; none yet
  Drain drain = Drain();
#pragma HLS ARRAY_PARTITION variable=drain.shortcut.pixels complete
  drain.begin(command);
  Countdown16 cycles; // of the step
  cycles.start(command.fetch);
  uint16_t waves_left = 0;                         // of the step
  weight_address_t weight(command.weights);       // of the wave
  weight_address_t group_weight(command.weights); // first of the array group's weight word
  uint8_t least = 0; // cycles that the group must take at least from here on
  bool held = false; // the array's sums are complete, but cannot be handed over yet

  loop_entered();
convolve_cycles:
  while (fetch.step.live || summed.live || drain.live) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT max=TRIP_CONVOLVE
// A command writes its destination and reads its source and shortcut, which lie elsewhere; what a LOAD writes meanwhile,
// nobody reads before it has completed.
#pragma HLS DEPENDENCE variable=features inter false
#pragma HLS DEPENDENCE variable=weights inter false
#pragma HLS DEPENDENCE variable=parameters inter false
    movers.begin(weights, parameters);
    if (!held && fetch.reads()) {
      fetch.read(command, features, next_line);
    }
    if (!held && waves_left != 0) {
      wave(command.columns.stride, weight, weights, line, sums);
      ++weight;
      --waves_left;
    }
    const Word shortcut = movers.read_word(features, drain.ask(command));
    movers.end(features, drain.live ? drain.step(command, drained, parameters, shortcut) : PageWrite());

    const bool step_ends = held || cycles.last;
    const bool group_ends = step_ends && summed.live && summed.closes;
    held = group_ends && (drain.live || least > 1);
    least = uint8_t(least != 0 ? least - 1 : 0);
    if (group_ends && !held) {
      drain.start(summed);
      for (int p = 0; p < POF; ++p) {
        for (int y = 0; y < POY; ++y) {
          for (int x = 0; x < POX; ++x) {
            drained[p][y][x] = sums[p][y * POX + x];
            sums[p][y * POX + x] = 0;
          }
        }
      }
      // The next array group takes the same weight words again, or goes on.
      group_weight = summed.columns_end && summed.rows_end && summed.word_ends ? weight : group_weight;
      weight = group_weight;
    }
    if (step_ends && !held) {
      swap_lines(fetch.left.offset(command.columns), next_line, line);
      summed = fetch.step;
      least = summed.opens ? GROUP_CYCLES : least;
      waves_left = uint16_t(summed.live ? command.Nkx : 0);
      cycles.start(command.step);
      if (fetch.step.live) {
        fetch.advance(command);
      }
    } else if (!step_ends) {
      cycles.next();
    }
  }
}

#endif
