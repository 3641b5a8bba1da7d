// Pooling and copies: done by the drain alone, one row of one map at a time.
#ifndef POOL_H
#define POOL_H

#include "array.h"
#include "drain.h"

constexpr sum_t LOWEST = -128; // what a pixel outside counts for in a maximum: every window has one inside

// Move the line `offset` pixels down, by one power of two after the other.
template <int PIXELS, typename T> inline void move_down(T line[PIXELS], int offset) {
  for (int level = WORD_BITS - 1; level >= 0; --level) {
    if (offset >> level & 1) {
      for (int i = 0; i + (1 << level) < PIXELS; ++i) {
        line[i] = line[i + (1 << level)];
      }
    }
  }
}

// The first stage: reads the words of POX neighbouring windows from copy B, row by row, and combines them column by
// column. It goes for map, for output row, for group of POX columns.
struct PoolRead {
  bool live;
  bool reading;
  Countdown16 ky;
  RowWords words; // of the row that is read
  Countdown16 column_groups;
  Countdown16 rows;
  Countdown16 maps;
  bool first;      // row of the window
  address_t map;
  Row row;         // of the window's row
  Row output_row;  // of the window's first row
  row_t in_row;
  row_t top;
  Place left;      // of the group's first column

  void start(const Pool &command) {
    live = true;
    column_groups.start(command.column_groups);
    rows.start(command.Toy);
    maps.start(command.Tof);
    map = address_t(command.source.address);
    output_row = first_row(command.source);
    top = row_t(command.rows.top);
    left.start(command.columns);
    start_group(command);
  }

  bool word_inside(const Pool &command) const {
    return words.column < command.columns.row_words && in_row < command.rows.height;
  }

  PageRead ask(const Pool &command) const {
    const bool asks = live && reading && word_inside(command);
    const PageRead asked = {asks, command.source.page, row.bank, map + row.address + address_t(words.column)};
    return asked;
  }

  void read(const Pool &command, const Word &word_read, sum_t line[POOL_LINE_WORDS][WORD_PIXELS]) {
    const bool inside = word_inside(command);
    // Pixels of the word that lie inside the tensor.
    const int pixels = int(command.width) - int(words.column) * WORD_PIXELS;
    const sum_t nothing = command.maximum ? LOWEST : 0;
    for (int x = 0; x < WORD_PIXELS; ++x) {
      const sum_t pixel = pixel_of(word_read.half[x / POX], x % POX);
      sum_t &sum = line[words.word][x];
      const sum_t before = first ? nothing : sum;
      const sum_t larger = pixel > before ? pixel : before;
      sum = !inside || x >= pixels ? before : command.maximum ? larger : before + pixel;
    }
    if (!words.left.last) {
      words.next();
      return;
    }
    reading = !ky.last;
    first = false;
    ky.next();
    row = next_row(row, command.source, command.source_row);
    in_row += command.rows.dilation;
    words.start(command.columns, left);
  }

  // On to the next POX outputs.
  void advance(const Pool &command) {
    const bool row_ends = column_groups.last;
    const bool map_ends = row_ends && rows.last;
    if (map_ends) {
      live = !maps.last;
      maps.next();
      map += address_t(command.source.map_words);
      output_row = first_row(command.source);
      top = row_t(command.rows.top);
    } else if (row_ends) {
      output_row = next_row(output_row, command.source, command.source_stride);
      top += command.rows.stride;
    }
    if (row_ends) {
      rows.turn(command.Toy);
      left.start(command.columns);
    } else {
      left.next(command.columns.stride);
    }
    column_groups.turn(command.column_groups);
    start_group(command);
  }

private:
  void start_group(const Pool &command) {
    reading = first = true;
    ky.start(command.Nky);
    row = output_row;
    in_row = top;
    words.start(command.columns, left);
  }
};

// One flattened loop of single cycles: while the words of one group are read, the columns of the group before are
// combined, one a cycle, as its line moves under the outputs.
// `movers` are LOAD and STORE, which go on meanwhile.
template <typename Movers>
inline void pool(const Pool &command, Weights weights, Parameters parameters, Features features, Movers &movers) {
  sum_t line[POOL_LINE_WORDS][WORD_PIXELS] = {}; // columns, combined over the window's rows
  sum_t taken[POOL_PIXELS] = {};                 // those of the group before, aligned
  sum_t results[POX] = {};
#pragma HLS ARRAY_PARTITION variable=line complete dim=0
#pragma HLS ARRAY_PARTITION variable=taken complete
#pragma HLS ARRAY_PARTITION variable=results complete
  PoolRead read;
  read.start(command);
  bool columns_end = false; // of the group before: the last of its row
  bool rows_end = false;    // and of its map
  Output output;
  output.start(command.destination);
  Countdown16 cycles; // of the first stage
  cycles.start(command.step);
  Countdown16 columns; // of the second
  columns.start(command.Nkx);
  bool combines = false;
  bool first = false; // column of the windows
  const int stride = command.columns.stride;

  loop_entered();
pool_cycles:
  while (read.live || combines) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT max=TRIP_POOL
#pragma HLS DEPENDENCE variable=features inter false
#pragma HLS DEPENDENCE variable=weights inter false
#pragma HLS DEPENDENCE variable=parameters inter false
    movers.begin(weights, parameters);
    const Word word = movers.read_word(features, read.ask(command));
    PageWrite pooled = PageWrite();
    if (combines) {
      sum_t outputs[POX];
#pragma HLS ARRAY_PARTITION variable=outputs complete
      for (int x = 0; x < POX; ++x) {
        sum_t value = taken[x];
        for (int s = 2; s <= POOL_STRIDE; ++s) {
          if (stride == s) {
            value = taken[x * s];
          }
        }
        const sum_t before = results[x];
        const sum_t larger = value > before ? value : before;
        results[x] = first ? value : command.maximum ? larger : before + value;
        outputs[x] = requantise(results[x], command.shift, -128, 127, 0);
      }
      first = false;
      for (int i = 0; i + 1 < POOL_PIXELS; ++i) {
        sum_t next = taken[i + 1];
        for (int d = 2; d <= POOL_DILATION; ++d) {
          if (command.dilation == d) {
            next = taken[min_of(i + d, POOL_PIXELS - 1)];
          }
        }
        taken[i] = next;
      }
      if (columns.last) {
        pooled = output.write(command.destination, outputs, command.Nox, columns_end);
        output.next(command.destination, true, true, columns_end, rows_end);
        combines = false;
      }
      columns.next();
    }
    if (read.live) {
      if (read.reading) {
        read.read(command, word, line);
      }
      if (cycles.last) {
        for (int i = 0; i < POOL_PIXELS; ++i) {
          taken[i] = line[i / WORD_PIXELS][i % WORD_PIXELS];
        }
        move_down<POOL_PIXELS>(taken, read.left.offset(command.columns));
        columns_end = read.column_groups.last;
        rows_end = read.rows.last;
        combines = first = true;
        columns.start(command.Nkx);
        cycles.start(command.step);
        read.advance(command);
      } else {
        cycles.next();
      }
    }
    movers.end(features, pooled);
  }
}

#endif
