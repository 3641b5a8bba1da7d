// Walks through a tile's rows: hardware adds and compares, and never multiplies or divides.
#ifndef WALK_H
#define WALK_H

#include "command.h"

// Where a walk is: a row's bank, its place among the rows that follow one another in the bank, and its first word.
struct Row {
  uint8_t bank;
  uint8_t remainder;
  address_t address;
};

// The row of a walk's begin, its address counted from the walk's own.
inline Row first_row(const Walk &walk) {
  const Row row = {walk.bank, walk.remainder, 0};
  return row;
}

// The row that a step leads to. The remainder carries into the bank, the bank into the group of rows.
inline Row next_row(const Row &row, const Walk &walk, const RowStep &step) {
  const uint16_t remainder = uint16_t(row.remainder + step.remainder);
  const bool bank_carry = remainder >= walk.interleave;
  const uint16_t bank = uint16_t(row.bank + step.bank + (bank_carry ? 1 : 0));
  const bool group_carry = bank >= POY;
  const address_t on(step.address);
  const address_t group(walk.group_words);
  Row next;
  next.remainder = uint8_t(bank_carry ? remainder - walk.interleave : remainder);
  next.bank = uint8_t(group_carry ? bank - POY : bank);
  next.address = row.address + (bank_carry == group_carry ? on : bank_carry ? address_t(on - group) : address_t(on + group));
  return next;
}

// The drain's walk through a tile that it reads or writes row by row: in every group map by map, in every map row by row.
// At a group's end it goes back to the group's first map and row for the next columns, on to the next rows, or on to the
// next maps.
struct TileWalk {
  address_t map;
  address_t group_map;
  Row row;
  Row group_row;

  void start(const Walk &walk) {
    map = group_map = address_t(walk.address);
    row = group_row = first_row(walk);
  }

  address_t address() const { return map + row.address; }

  // A row is finished, and with it perhaps the map's rows in the group, the group's maps, the columns of these rows, the
  // rows of the tile. `map_moves`: the next map lies elsewhere.
  void next(const Walk &walk, const RowStep &step, bool map_ends, bool group_ends, bool columns_end, bool rows_end,
            bool map_moves) {
    const Row on = next_row(row, walk, step);
    const address_t next_map = map_moves ? address_t(map + walk.map_words) : map;
    if (!map_ends) {
      row = on;
    } else if (!group_ends || !columns_end) {
      row = group_row;
    } else {
      row = group_row = rows_end ? first_row(walk) : on;
    }
    if (map_ends && !group_ends) {
      map = next_map;
    } else if (map_ends && columns_end && rows_end) {
      map = group_map = next_map;
    } else if (map_ends) {
      map = group_map;
    }
  }
};

#endif
