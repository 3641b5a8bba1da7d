// The words of a tile in the order in which DRAM holds them, as LOAD and STORE walk through them.
#ifndef MOVED_H
#define MOVED_H

#include "walk.h"

// The beat at hand: its part of a word, the word in its row, the row in its map.
struct TileWords {
  uint8_t part;
  Countdown16 words; // of the row
  Countdown16 rows;  // of the map
  address_t map;
  address_t word;
  Row row;

  void start(const Tile &tile) {
#pragma HLS INLINE
    part = 0;
    words.start(tile.row_words);
    rows.start(tile.rows);
    map = address_t(tile.place.address);
    word = 0;
    row = first_row(tile.place);
  }

  address_t address() const { return map + row.address + word; }
  bool completes() const { return part == BEATS_PER_WORD - 1; } // its word

  void next(const Tile &tile) {
#pragma HLS INLINE
    const bool word_ends = completes();
    const bool row_ends = word_ends && words.last;
    const bool map_ends = row_ends && rows.last;
    part = uint8_t(word_ends ? 0 : part + 1);
    if (row_ends) {
      words.start(tile.row_words);
      word = 0;
      row = map_ends ? first_row(tile.place) : next_row(row, tile.place, tile.row);
    } else if (word_ends) {
      words.next();
      ++word;
    }
    if (map_ends) {
      rows.start(tile.rows);
      map += tile.place.map_words;
    } else if (row_ends) {
      rows.next();
    }
  }
};

// The beats of a transfer, run by run, as they arrive or leave.
struct TransferBeats {
  Countdown32 beats; // of the run
  Countdown16 runs;

  void start(const Transfer &dram) {
#pragma HLS INLINE
    beats.start(dram.beats);
    runs.start(dram.runs);
  }

  bool last() const { return beats.last && runs.last; }

  void next(const Transfer &dram) {
#pragma HLS INLINE
    if (beats.last) {
      beats.start(dram.beats);
      runs.next();
    } else {
      beats.next();
    }
  }
};

#endif
