// LOAD, on chip: the beats of its commands to the feature pages, the weight buffer and the parameter buffer.
#ifndef LOAD_H
#define LOAD_H

#include "moved.h"
#include "pages.h"

constexpr uint8_t TO_PAGES = 0; // Load::buffer
constexpr uint8_t TO_WEIGHTS = 1;
constexpr int WEIGHT_CHUNKS = chunks_for(AXI_BITS * BEATS_PER_WEIGHT);

// Takes the beats of one command, one a cycle, wherever they come from.
struct Loader {
  bool live;
  Load command;
  TransferBeats left;
  TileWords at;
  weight_address_t row;          // of the weight buffer's banks
  record_address_t record;       // row of the parameter buffer's banks
  uint8_t part;                  // of a weight word that is wider than a beat
  uint64_t word[WORD_CHUNKS];    // a feature word, put together from BEATS_PER_WORD beats
  uint64_t weight[WEIGHT_CHUNKS];

  void clear() {
#pragma HLS INLINE
    live = false;
  }

  void start(const Load &next) {
#pragma HLS INLINE
    live = true;
    command = next;
    left.start(command.dram);
    at.start(command.tile);
    row = command.word / WEIGHTS_PER_BEAT;
    record = command.word / RECORDS_PER_BEAT;
    part = 0;
  }

  // Feature words are left to `write`, as the pages' ports have other users.
  void take(const Beat &beat, Weights weights, Parameters parameters, PageWrite &write) {
#pragma HLS INLINE
    if (command.buffer == TO_PAGES) {
      put_beat<WORD_CHUNKS, BEATS_PER_WORD>(word, beat, at.part);
      write.live[0] = write.live[1] = at.completes();
      write.page = command.tile.place.page;
      write.bank = at.row.bank;
      write.address = at.address();
      write.word.half[0] = HalfChunks::take(word, 0);
      write.word.half[1] = HalfChunks::take(word, 8 * POX);
      at.next(command.tile);
    } else if (command.buffer == TO_WEIGHTS) {
      take_weights(beat, weights);
    } else {
      for (int bank = 0; bank < RECORDS_PER_BEAT; ++bank) {
        parameters[bank][record] = record_t(beat.chunks[32 * bank / CHUNK_BITS] >> (32 * bank % CHUNK_BITS));
      }
      ++record;
    }
    live = !left.last();
    left.next(command.dram);
  }

private:
  // A load is whole beats and begins at a whole row of the banks, so each bank gets a whole word.
  void take_weights(const Beat &beat, Weights weights) {
#pragma HLS INLINE
    put_beat<WEIGHT_CHUNKS, BEATS_PER_WEIGHT>(weight, beat, part);
    const bool complete = part == BEATS_PER_WEIGHT - 1;
    part = uint8_t(complete ? 0 : part + 1);
    if (complete) {
      for (int bank = 0; bank < WEIGHTS_PER_BEAT; ++bank) {
        weights[bank][row] = WeightChunks::take(weight, 8 * POF * bank);
      }
      ++row;
    }
  }
};

#endif
