// What LOAD and STORE have in common on chip: the words of a tile in the order in which DRAM holds them, beat by beat.
#ifndef MOVED_H
#define MOVED_H

#include "pages.h"
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
    const bool word_ends = completes();
    const bool row_ends = word_ends && words.last;
    const bool map_ends = row_ends && rows.last;
    part = uint8_t(word_ends ? 0 : part + 1);
    if (word_ends) {
      words.turn(tile.row_words);
      word = address_t(row_ends ? 0U : word + 1);
    }
    if (row_ends) {
      rows.turn(tile.rows);
      row = map_ends ? first_row(tile.place) : next_row(row, tile.place, tile.row);
    }
    if (map_ends) {
      map += tile.place.map_words;
    }
  }
};

// A command under way, one beat a cycle.
template <typename Command> struct Moved {
  bool live;
  Command command;
  Countdown32 beats; // of the run
  Countdown16 runs;
  TileWords at;

  CSIM_NOINLINE void start(const Command &next) {
    live = true;
    command = next;
    beats.start(command.dram.beats);
    runs.start(command.dram.runs);
    at.start(command.tile);
  }

  void next() {
    at.next(command.tile);
    live = !beats.last || !runs.last;
    if (beats.last) {
      runs.next();
    }
    beats.turn(command.dram.beats);
  }
};

#endif
