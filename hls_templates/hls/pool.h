// Pooling and copies: done by the drain alone, one row of one map at a time.
#ifndef POOL_H
#define POOL_H

#include "array.h"
#include "drain.h"

constexpr sum_t LOWEST = -128; // what a pixel outside counts for in a maximum: every window has one inside

// What the second stage needs to know of POX outputs whose windows have been read.
struct PoolGroup {
  bool columns_end; // the last of their row
  bool rows_end;    // of their map
};

// Pixel `x * stride` of a line, from constant positions only.
template <int LIMIT, typename T> inline T strided(const T *line, int x, int stride) {
#pragma HLS INLINE
  T pixel = line[x];
  for (int s = 2; s <= LIMIT; ++s) {
    if (stride == s) {
      pixel = line[x * s];
    }
  }
  return pixel;
}

// Move the line `offset` pixels down, by one power of two after the other.
template <int PIXELS, typename T> inline void move_down(T line[PIXELS], int offset) {
#pragma HLS INLINE
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
  Countdown16 words;
  Countdown16 column_groups;
  Countdown16 rows;
  Countdown16 maps;
  uint8_t word;    // in the line
  bool first;      // row of the window
  address_t map;
  Row row;         // of the window's row
  Row output_row;  // of the window's first row
  row_t in_row;
  row_t top;
  Place left;      // of the group's first column
  column_t column; // word of the row that is read

  void start(const Pool &command) {
#pragma HLS INLINE
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

  PoolGroup group() const {
    const PoolGroup group = {column_groups.last, rows.last};
    return group;
  }

  bool word_inside(const Pool &command) const {
#pragma HLS INLINE
    return column < command.columns.row_words && in_row < command.rows.height;
  }

  PageRead ask(const Pool &command) const {
#pragma HLS INLINE
    const bool asks = live && reading && word_inside(command);
    const PageRead asked = {asks, command.source.page, row.bank, map + row.address + address_t(column)};
    return asked;
  }

  void read(const Pool &command, const Word &word_read, sum_t line[POOL_PIXELS]) {
#pragma HLS INLINE
    const bool inside = word_inside(command);
    // Pixels of the word that lie inside the tensor.
    const int pixels = int(command.width) - int(column) * WORD_PIXELS;
    const sum_t nothing = command.maximum ? LOWEST : 0;
    for (int x = 0; x < WORD_PIXELS; ++x) {
      const sum_t pixel = pixel_of(word_read.half[x / POX], x % POX);
      sum_t &sum = line[word * WORD_PIXELS + x];
      const sum_t before = first ? nothing : sum;
      const sum_t larger = pixel > before ? pixel : before;
      sum = !inside || x >= pixels ? before : command.maximum ? larger : before + pixel;
    }
    if (!words.last) {
      words.next();
      ++word;
      ++column;
      return;
    }
    reading = !ky.last;
    first = false;
    ky.next();
    row = next_row(row, command.source, command.source_row);
    in_row += command.rows.dilation;
    start_row(command);
  }

  // On to the next POX outputs.
  void advance(const Pool &command) {
#pragma HLS INLINE
    const bool row_ends = column_groups.last;
    const bool map_ends = row_ends && rows.last;
    if (map_ends) {
      live = !maps.last;
      maps.next();
      rows.start(command.Toy);
      map += address_t(command.source.map_words);
      output_row = first_row(command.source);
      top = row_t(command.rows.top);
    } else if (row_ends) {
      rows.next();
      output_row = next_row(output_row, command.source, command.source_stride);
      top += command.rows.stride;
    }
    if (row_ends) {
      column_groups.start(command.column_groups);
      left.start(command.columns);
    } else {
      column_groups.next();
      left.next(command.columns.stride);
    }
    start_group(command);
  }

private:
  void start_row(const Pool &command) {
#pragma HLS INLINE
    words.start(command.columns.words);
    word = 0;
    column = left.word;
  }

  void start_group(const Pool &command) {
#pragma HLS INLINE
    reading = first = true;
    ky.start(command.Nky);
    row = output_row;
    in_row = top;
    start_row(command);
  }
};

// One flattened loop of single cycles: while the words of one group are read, the columns of the group before are
// combined, one a cycle, as its line moves under the outputs.
// `movers` are LOAD and STORE, which go on meanwhile.
template <typename Movers>
inline void pool(const Pool &command, Weights weights, Parameters parameters, Features features, Movers &movers) {
#pragma HLS INLINE
  sum_t line[POOL_PIXELS]; // columns, combined over the window's rows
  sum_t taken[POOL_PIXELS]; // those of the group before, aligned
  sum_t results[POX];
#pragma HLS ARRAY_PARTITION variable=line complete
#pragma HLS ARRAY_PARTITION variable=taken complete
#pragma HLS ARRAY_PARTITION variable=results complete
clear:
  for (int i = 0; i < POOL_PIXELS; ++i) {
#pragma HLS UNROLL
    line[i] = taken[i] = 0;
  }
  for (int x = 0; x < POX; ++x) {
    results[x] = 0;
  }

  PoolRead read;
  read.start(command);
  PoolGroup group = PoolGroup();
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
    PageRead stored;
    PageWrite loaded;
    movers.begin(weights, parameters, stored, loaded);
    Word word = no_word();
    Word stored_word = no_word();
    read_copy_b(features, read.ask(command), stored, word, stored_word);
    PageWrite pooled = no_write();
    if (combines) {
      pixel_t outputs[POX];
#pragma HLS ARRAY_PARTITION variable=outputs complete
      for (int x = 0; x < POX; ++x) {
        const sum_t value = strided<POOL_STRIDE>(taken, x, stride);
        const sum_t before = results[x];
        const sum_t larger = value > before ? value : before;
        results[x] = first ? value : command.maximum ? larger : before + value;
        outputs[x] = pixel_t(requantise(results[x], command.shift, -128, 127, 0));
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
        pooled = output.write(command.destination, outputs, command.Nox, group.columns_end);
        output.next(command.destination, true, true, group.columns_end, group.rows_end);
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
          taken[i] = line[i];
        }
        move_down<POOL_PIXELS>(taken, read.left.offset(command.columns));
        group = read.group();
        combines = first = true;
        columns.start(command.Nkx);
        cycles.start(command.step);
        read.advance(command);
      } else {
        cycles.next();
      }
    }
    write_pages(features, pooled, loaded);
    movers.end(stored_word);
  }
}

#endif
