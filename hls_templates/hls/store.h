// STORE, on chip: the words of a feature tile, beat by beat.
#ifndef STORE_H
#define STORE_H

#include "moved.h"

// Gives the beats of one command, one a cycle, to wherever they go.
struct Storer : Moved<Store> {
  // The word that the next beat is a part of.
  PageRead ask() const {
    const PageRead read = {true, command.tile.place.page, at.row.bank, at.address()};
    return read;
  }

  CSIM_NOINLINE Beat give(const Word &word) {
    uint8_t bytes[WORD_PIXELS];
    unpack<POX>(word.half[0], bytes);
    unpack<POX>(word.half[1], bytes + POX);
    Beat beat = Beat();
    for (int i = 0; i < WORD_PIXELS; ++i) {
      if (i / BEAT_BYTES == at.part) {
        beat.bytes[i % BEAT_BYTES] = bytes[i];
      }
    }
    next();
    return beat;
  }
};

#endif
