// The array: the line fetch that feeds it, and POX x POY x POF multiply-accumulate units.
#ifndef ARRAY_H
#define ARRAY_H

#include "pages.h"
#include "walk.h"

// Rows and words outside of a tensor: what lies before the first counts as beyond the last, so one comparison tells.
typedef Modulo<18> row_t;    // row of a tensor
typedef Modulo<13> column_t; // word of a row

// The first pixel of a group of POX windows, but for an offset in half a word that all groups of a command share.
struct Place {
  column_t word;
  bool half; // the second of the word

  void start(const Columns &columns) {
    word = column_t(columns.word);
    half = (columns.offset >> POX_BITS & 1) != 0;
  }

  // POX windows on, which is as many half words as a window's stride is columns.
  void next(uint8_t stride) {
    const uint16_t halves = uint16_t(stride + (half ? 1 : 0));
    word += column_t(halves >> 1);
    half = (halves & 1) != 0;
  }

  // Pixels from the first of a line's words.
  int offset(const Columns &columns) const { return (half ? POX : 0) + (columns.offset & (POX - 1)); }
};

// The words of one row under a group, from its first on.
struct RowWords {
  Countdown16 left;
  uint8_t word;    // in the line
  column_t column; // in the row

  void start(const Columns &columns, const Place &first) {
    left.start(columns.words);
    word = 0;
    column = first.word;
  }

  void next() {
    left.next();
    ++word;
    ++column;
  }
};

// Rows of pixels in half words, the first pixel lowest: NEXT of the next step's line, whole words not yet aligned, and LINE
// of the line under the array.
constexpr int NEXT_HALVES = 2 * LINE_WORDS;
constexpr int LINE_HALVES = (TAPS + POX - 1) / POX;

// Half a word that begins `pixels` (0 ... POX - 1) after the first pixel of `low`, and goes on in `high`.
inline half_word_t joined(const half_word_t &low, const half_word_t &high, int pixels) {
  // In two shifts, as one by all the bits of a word is undefined.
  return half_word_t(half_word_t(low >> (8 * pixels)) | half_word_t(half_word_t(high << 8) << (8 * (POX - 1 - pixels))));
}

// What the array and the drain need to know of a step: one input map and kernel row of a group of outputs.
struct Step {
  bool live;        // false before the first and after the last
  bool opens;       // the group's first
  bool closes;      // the group's last
  bool word_ends;   // the array group ends with its weight word
  bool columns_end; // the group is the last of its rows
  bool rows_end;    // and of its maps
  uint8_t rows;     // of the group that exist
  uint8_t lane;     // of the array group's first map
  uint8_t maps;     // of the array group
};

// The line fetch: reads the words of a step's rows from copy A and turns them from bank order to row order. It goes
//   for array group of maps, for group of POY rows, for group of POX columns: for input map, for ky.
// An array group ends with a weight word or with a group of the convolution: all lanes take the same pixels.
struct LineFetch {
  Step step;
  Countdown16 ky;
  Countdown16 input_maps;
  Countdown16 column_groups;
  uint16_t rows_left;
  uint16_t maps_left;  // of the tile, from the array group on
  uint16_t group_left; // of them, those that share its input maps
  uint16_t reads_left; // of the step
  RowWords words;      // of the row that is read
  uint8_t pass;        // row that is read, where rows are read one by one
  address_t map;
  address_t group_map; // the array group's first
  Row row;             // of the step's first row
  Row group_row;       // of the group's
  Row pass_row;        // of the row that is read
  Row after_row;       // of the row after the group's last, where rows are read one by one
  bool first_ky;       // the kernel's first row
  Place left;          // of the group's first column
  row_t top;           // the step's first row
  row_t group_top;
  row_t group_rows;    // from a group's first row to the next group's
  row_t offsets[POY];  // of the array's rows from the first
  bool inside[POY];    // rows of the step that exist and lie inside the tensor

  void start(const Convolve &command) {
    ky.start(command.Nky);
    input_maps.start(command.Nif);
    column_groups.start(command.column_groups);
    rows_left = command.Toy;
    maps_left = command.Tof;
    group_left = command.group_left;
    step.live = step.opens = first_ky = true;
    step.lane = 0;
    describe();
    map = group_map = address_t(command.source.address);
    row = group_row = after_row = first_row(command.source);
    left.start(command.columns);
    top = group_top = row_t(command.rows.top);
    row_t offset = 0;
  offsets:
    for (int y = 0; y < POY; ++y) {
#pragma HLS UNROLL
      offsets[y] = offset;
      offset += command.rows.stride;
    }
    group_rows = offset;
    start_reads(command);
  }

  bool reads() const { return step.live && reads_left != 0; }

  // One word of every row, or of one, into the next line. Words outside the tensor count as zero.
  void read(const Convolve &command, Features features, half_word_t next_line[NEXT_HALVES][POY]) {
    const bool one_by_one = ROW_BY_ROW && command.row_by_row;
    const bool column_inside = words.column < command.columns.row_words;
    const uint8_t bank = pass_row.bank;
    const address_t address = map + pass_row.address + address_t(words.column);
    const address_t beyond = address + address_t(one_by_one ? 0U : command.source.group_words);
    // Row y lies in bank y + turn, counted in a circle.
    const uint8_t turn = uint8_t(!one_by_one ? bank : bank >= pass ? bank - pass : bank + POY - pass);

    half_word_t in_banks[2][POY];
#pragma HLS ARRAY_PARTITION variable=in_banks complete dim=0
    for (int b = 0; b < POY; ++b) {
      const bool wraps = b < turn;
      const uint32_t y = uint32_t(wraps ? b + POY - turn : b - turn);
      const bool enable = column_inside && inside[y] && (!one_by_one || y == pass);
      const address_t at = wraps ? beyond : address;
      in_banks[0][b] = in_banks[1][b] = 0;
      if (enable) {
        in_banks[0][b] = read_half(features, COPY_A, command.source.page, b, 0, at);
        in_banks[1][b] = read_half(features, COPY_A, command.source.page, b, 1, at);
      }
    }
    for (int y = 0; y < POY; ++y) {
      const uint32_t b = uint32_t(y + turn < POY ? y + turn : y + turn - POY);
      if (!one_by_one || y == pass) {
        next_line[2 * words.word][y] = in_banks[0][b];
        next_line[2 * words.word + 1][y] = in_banks[1][b];
      }
    }

    --reads_left;
    if (words.left.last) {
      if (one_by_one) {
        const Row on = next_row(pass_row, command.source, command.source_stride);
        after_row = first_ky && pass == POY - 1 ? on : after_row;
        pass_row = on;
      }
      ++pass;
      words.start(command.columns, left);
    } else {
      words.next();
    }
  }

  // On to the next step.
  void advance(const Convolve &command) {
    const bool if_on = ky.last;
    const bool column_on = if_on && input_maps.last;
    const bool row_on = column_on && column_groups.last;
    const bool array_on = row_on && step.rows_end;
    const bool moves = GROUPED && step.maps == group_left; // the next maps read other input maps
    const bool one_by_one = ROW_BY_ROW && command.row_by_row;

    // Rows: the kernel's next, back for the next input map, on for the next group of rows, back for the next maps.
    if (array_on) {
      row = group_row = first_row(command.source);
      top = group_top = row_t(command.rows.top);
    } else if (row_on) {
      if (one_by_one) {
        group_row = after_row;
      } else {
        group_row.address += address_t(command.source.group_words);
      }
      row = group_row;
      top = group_top = group_top + group_rows;
    } else if (if_on) {
      row = group_row;
      top = group_top;
    } else {
      row = next_row(row, command.source, command.source_row);
      ++top;
    }

    // Input maps.
    const address_t next_map = map + address_t(command.source.map_words);
    if (column_on) {
      map = group_map = array_on && moves ? next_map : group_map;
    } else if (if_on) {
      map = next_map;
    }

    // Columns.
    if (row_on) {
      left.start(command.columns);
    } else if (column_on) {
      left.next(command.columns.stride);
    }

    // The nest's counts.
    if (array_on) {
      const bool ends = step.maps == maps_left;
      maps_left = uint16_t(maps_left - step.maps);
      group_left = uint16_t(moves ? command.Gof : group_left - step.maps);
      step.lane = uint8_t(!GROUPED || step.word_ends ? 0 : step.lane + step.maps);
      rows_left = command.Toy;
      step.live = step.live && !ends;
    } else if (row_on) {
      rows_left = uint16_t(rows_left - POY);
    }
    if (column_on) {
      column_groups.turn(command.column_groups);
    }
    if (if_on) {
      input_maps.turn(command.Nif);
    }
    ky.turn(command.Nky);
    step.opens = column_on;
    first_ky = if_on;
    describe();
    start_reads(command);
  }

private:
  void describe() {
    const uint16_t lanes = uint16_t(POF - step.lane);
    const uint16_t shared = uint16_t(GROUPED ? min_of(lanes, group_left) : lanes);
    step.maps = uint8_t(min_of(shared, maps_left));
    step.word_ends = step.lane + step.maps == POF;
    step.rows = uint8_t(min_of(POY, rows_left));
    step.rows_end = rows_left <= POY;
    step.columns_end = column_groups.last;
    step.closes = ky.last && input_maps.last;
  }

  void start_reads(const Convolve &command) {
    reads_left = command.fetch;
  inside:
    for (int y = 0; y < POY; ++y) {
#pragma HLS UNROLL
      const row_t in_row = top + offsets[y];
      inside[y] = in_row < command.rows.height && y < step.rows;
    }
    pass = 0;
    pass_row = row;
    words.start(command.columns, left);
  }
};

// There are two line registers: the array takes the pixels of `line` while the words of the next step's line are read
// into `next_line`. Make that the current one, its first pixel under the array's first column: the second half of the
// first word or not, and an offset in half a word that is the same for all groups of a command.
inline void swap_lines(int offset, half_word_t next_line[NEXT_HALVES][POY], half_word_t line[LINE_HALVES][POY]) {
  const int half = offset >> POX_BITS & 1;
  const int pixels = offset & (POX - 1);
  for (int i = 0; i < LINE_HALVES; ++i) {
    for (int y = 0; y < POY; ++y) {
      const half_word_t low = half != 0 ? next_line[min_of(i + 1, NEXT_HALVES - 1)][y] : next_line[i][y];
      const half_word_t high =
          half != 0 ? next_line[min_of(i + 2, NEXT_HALVES - 1)][y] : next_line[min_of(i + 1, NEXT_HALVES - 1)][y];
      line[i][y] = joined(low, high, pixels);
    }
  }
}

// The pixels under the array: in every row, every `stride`-th.
inline void pixels_under(int stride, half_word_t line[LINE_HALVES][POY], pixel_t pixels[POY * POX]) {
  half_word_t under[POY];
#pragma HLS ARRAY_PARTITION variable=under complete
  for (int y = 0; y < POY; ++y) {
    under[y] = line[0][y];
  }
  for (int s = 2; s <= STRIDE_COLUMNS; ++s) {
    if (stride == s) {
      for (int y = 0; y < POY; ++y) {
        under[y] = 0;
        for (int x = 0; x < POX; ++x) {
          under[y] |= half_word_t(half_word_t(uint8_t(pixel_of(line[x * s / POX][y], x * s % POX))) << (8 * x));
        }
      }
    }
  }
  for (int y = 0; y < POY; ++y) {
    unpack<POX>(under[y], pixels + y * POX);
  }
}

// One wave: every unit multiplies its pixel with its map's weight; then the line moves one kernel column on.
inline void wave(int stride, weight_address_t weight, Weights weights, half_word_t line[LINE_HALVES][POY],
                 sum_t sums[POF][POY * POX]) {
  weight_t maps[POF];
  pixel_t pixels[POY * POX];
#pragma HLS ARRAY_PARTITION variable=maps complete
#pragma HLS ARRAY_PARTITION variable=pixels complete
  unpack<POF>(weights[weight % WEIGHTS_PER_BEAT][weight / WEIGHTS_PER_BEAT], maps);
  pixels_under(stride, line, pixels);
  for (int p = 0; p < POF; ++p) {
    for (int i = 0; i < POY * POX; ++i) {
      product_t product = product_t(maps[p] * pixels[i]);
#ifdef SEQUENTIAL
#pragma HLS RESOURCE variable=product core=DSP48
#else
#pragma HLS BIND_OP variable=product op=mul impl=dsp
#endif
      sums[p][i] += product;
    }
  }
  for (int i = 0; i + 1 < LINE_HALVES; ++i) {
    for (int y = 0; y < POY; ++y) {
      line[i][y] = joined(line[i][y], line[i + 1][y], 1);
    }
  }
  for (int y = 0; y < POY; ++y) {
    line[LINE_HALVES - 1][y] = half_word_t(line[LINE_HALVES - 1][y] >> 8);
  }
}

#endif
