// STORE, on chip: the words of a feature tile, beat by beat.
#ifndef STORE_H
#define STORE_H

#include "moved.h"
#include "pages.h"

// Gives the beats of one command, one a cycle, to wherever they go.
struct Storer {
  bool live;
  Store command;
  TransferBeats left;
  TileWords at;

  void clear() {
#pragma HLS INLINE
    live = false;
  }

  void start(const Store &next) {
#pragma HLS INLINE
    live = true;
    command = next;
    left.start(command.dram);
    at.start(command.tile);
  }

  // The word that the next beat is a part of.
  PageRead ask() const {
#pragma HLS INLINE
    const PageRead read = {true, command.tile.place.page, at.row.bank, at.address()};
    return read;
  }

  Beat give(const Word &word) {
#pragma HLS INLINE
    uint64_t chunks[WORD_CHUNKS];
    for (int i = 0; i < WORD_CHUNKS; ++i) {
      chunks[i] = 0;
    }
    HalfChunks::put(word.half[0], chunks, 0);
    HalfChunks::put(word.half[1], chunks, 8 * POX);
    const Beat beat = get_beat<WORD_CHUNKS, BEATS_PER_WORD>(chunks, at.part);
    at.next(command.tile);
    live = !left.last();
    left.next(command.dram);
    return beat;
  }
};

#endif
