// LOAD, on chip: the beats of its commands to the feature pages, the weight buffer and the parameter buffer.
#ifndef LOAD_H
#define LOAD_H

#include "moved.h"

constexpr uint8_t TO_PAGES = 0; // Load::buffer
constexpr uint8_t TO_WEIGHTS = 1;

// Put a beat into a word that is PARTS beats long, as its part `part`.
template <int PARTS> inline void put_beat(uint8_t word[PARTS * BEAT_BYTES], const Beat &beat, int part) {
  for (int i = 0; i < PARTS * BEAT_BYTES; ++i) {
    if (i / BEAT_BYTES == part) {
      word[i] = beat.bytes[i % BEAT_BYTES];
    }
  }
}

// Takes the beats of one command, one a cycle, wherever they come from.
struct Loader : Moved<Load> {
  weight_address_t row;                         // of the weight buffer's banks
  record_address_t record;                      // row of the parameter buffer's banks
  uint8_t part;                                 // of a weight word that is wider than a beat
  uint8_t word[WORD_PIXELS];                    // a feature word, put together from BEATS_PER_WORD beats
  uint8_t weight[BEATS_PER_WEIGHT * BEAT_BYTES]; // one weight word, or as many as a beat holds

  void start(const Load &next) {
    Moved<Load>::start(next);
    row = command.word / WEIGHTS_PER_BEAT;
    record = command.word / RECORDS_PER_BEAT;
    part = 0;
  }

  // Feature words are left to `write`, as the pages' ports have other users.
  void take(const Beat &beat, Weights weights, Parameters parameters, PageWrite &write) {
    if (command.buffer == TO_PAGES) {
      put_beat<BEATS_PER_WORD>(word, beat, at.part);
      write.live[0] = write.live[1] = at.completes();
      write.page = command.tile.place.page;
      write.bank = at.row.bank;
      write.address = at.address();
      write.word.half[0] = pack<half_word_t, POX>(word);
      write.word.half[1] = pack<half_word_t, POX>(word + POX);
    } else if (command.buffer == TO_WEIGHTS) {
      take_weights(beat, weights);
    } else {
      for (int bank = 0; bank < RECORDS_PER_BEAT; ++bank) {
        parameters[bank][record] = pack<record_t, 4>(beat.bytes + 4 * bank);
      }
      ++record;
    }
    next();
  }

private:
  // A load is whole beats and begins at a whole row of the banks, so each bank gets a whole word.
  void take_weights(const Beat &beat, Weights weights) {
    put_beat<BEATS_PER_WEIGHT>(weight, beat, part);
    const bool complete = part == BEATS_PER_WEIGHT - 1;
    part = uint8_t(complete ? 0 : part + 1);
    if (complete) {
      for (int bank = 0; bank < WEIGHTS_PER_BEAT; ++bank) {
        weights[bank][row] = pack<weight_word_t, POF>(weight + POF * bank);
      }
      ++row;
    }
  }
};

#endif
