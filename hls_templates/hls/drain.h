// The drain: bias, shortcut, rounding, activation, saturation, and the write of finished outputs.
#ifndef DRAIN_H
#define DRAIN_H

#include "array.h"

// Where the drain writes: one row of one map, POX pixels or half a word, at a time.
struct Output {
  TileWalk walk;
  uint16_t column;  // half word of the row
  uint8_t pixel;    // of a packed word
  half_word_t kept; // the packed pixels of half a word

  void start(const Destination &destination) {
    walk.start(destination.place);
    column = 0;
    pixel = 0;
    kept = 0;
  }

  // Write the outputs that exist; the others are zero. A lower half brings zeros for its upper half, the first map of
  // a packed word zeros for all others.
  PageWrite write(const Destination &destination, const sum_t outputs[POX], uint16_t columns, bool columns_end) {
    const int ragged = columns & (POX - 1); // of the last group; 0: all
    const int lane = pixel & (POX - 1);
    pixel_t pixels[POX];
#pragma HLS ARRAY_PARTITION variable=pixels complete
    for (int x = 0; x < POX; ++x) {
      pixels[x] = pixel_t(outputs[x]);
    }
    if (columns_end && ragged != 0) {
      for (int x = 0; x < POX; ++x) {
        pixels[x] = x < ragged ? pixels[x] : pixel_t(0);
      }
    }
    kept = half_word_t((lane == 0 ? half_word_t(0) : kept) | half_word_t(half_word_t(uint8_t(outputs[0])) << (8 * lane)));
    const half_word_t word = destination.packed ? kept : pack<half_word_t, POX>(pixels);
    const int half = destination.packed ? pixel >> POX_BITS : column & 1;
    const bool clears = destination.packed ? pixel == 0 : half == 0;
    PageWrite write;
    write.live[0] = half == 0;
    write.live[1] = half == 1 || clears;
    write.page = destination.place.page;
    write.bank = walk.row.bank;
    write.address = walk.address() + address_t(destination.packed ? 0 : column >> 1);
    write.word.half[0] = word;
    write.word.half[1] = half == 1 ? word : half_word_t(0);
    return write;
  }

  void next(const Destination &destination, bool map_ends, bool group_ends, bool columns_end, bool rows_end) {
    const bool map_moves = !destination.packed || pixel == WORD_PIXELS - 1;
    walk.next(destination.place, destination.row, map_ends, group_ends, columns_end, rows_end, map_moves);
    if (map_ends && group_ends) {
      column = uint16_t(columns_end ? 0 : column + 1);
    }
    if (map_ends) {
      pixel = uint8_t((pixel + 1) & (WORD_PIXELS - 1));
    }
  }
};

// The shortcut of the row that is drained: which maps get one, and the pixels that have been read.
struct ShortcutRead {
  TileWalk walk;
  uint16_t skip; // maps before the first that gets one
  uint16_t left; // maps from there on that do
  uint16_t group_skip;
  uint16_t group_left;
  uint16_t column; // half word of the group's first pixel
  pixel_t pixels[POX];

  void start(const Shortcut &shortcut) {
    walk.start(shortcut.place);
    skip = group_skip = shortcut.first;
    left = group_left = shortcut.maps;
    column = 0;
  }

  bool present() const { return skip == 0 && left != 0; }

  // Word `read` of the row, if this map gets a shortcut.
  PageRead ask(const Shortcut &shortcut, int read) const {
    const uint16_t word = uint16_t((column >> 1) + read);
    const bool inside = present() && word < shortcut.row_words;
    const PageRead asked = {inside, shortcut.place.page, walk.row.bank, walk.address() + address_t(word)};
    return asked;
  }

  // Keep the pixels of word `read` that the group's columns need. A single column has pixel 0 alone, whatever its stride.
  void keep(const Shortcut &shortcut, int read, const Word &word) {
    const int stride = shortcut.stride <= SHORTCUT_STRIDE ? int(shortcut.stride) : 1;
    for (int s = 1; s <= SHORTCUT_STRIDE; ++s) {
      for (int half = 0; half < 2; ++half) {
        if (stride == s && (column & 1) == half) {
          for (int x = 0; x < POX; ++x) {
            const int at = half * POX + x * s; // a constant
            pixels[x] = read == at / WORD_PIXELS ? pixel_of(word.half[at / POX % 2], at % POX) : pixels[x];
          }
        }
      }
    }
  }

  void next(const Shortcut &shortcut, bool map_ends, bool group_ends, bool columns_end, bool rows_end) {
    const bool gets = present();
    walk.next(shortcut.place, shortcut.row, map_ends, group_ends, columns_end, rows_end, gets);
    if (!map_ends) {
      return;
    }
    if (group_ends && !(columns_end && rows_end)) {
      skip = group_skip;
      left = group_left;
    } else {
      skip = uint16_t(skip != 0 ? skip - 1 : 0);
      left = uint16_t(gets ? left - 1 : left);
      group_skip = group_ends ? skip : group_skip;
      group_left = group_ends ? left : group_left;
    }
    if (group_ends) {
      column = uint16_t(columns_end ? 0 : column + shortcut.stride);
    }
  }
};

// The group of a convolution that is being drained, map by map, row by row, shortcut word by shortcut word. Only maps and
// rows that exist are drained, so ragged groups take less time.
struct Drain {
  bool live;
  Step group;
  Countdown16 maps;
  Countdown16 rows;
  uint8_t lane;
  uint8_t row;
  uint8_t read;
  record_address_t record;
  record_address_t group_record;
  Output output;
  ShortcutRead shortcut;

  // Before a command's first group.
  void begin(const Convolve &command) {
    live = false;
    record = group_record = record_address_t(command.parameters);
    output.start(command.destination);
    shortcut.start(command.shortcut);
  }

  void start(const Step &step) {
    live = true;
    group = step;
    maps.start(step.maps);
    rows.start(step.rows);
    lane = step.lane;
    row = read = 0;
  }

  PageRead ask(const Convolve &command) const {
    return live && command.shortcut.present ? shortcut.ask(command.shortcut, read) : PageRead();
  }

  // One cycle: a shortcut word, and with the last of them the outputs of one row of one map.
  PageWrite step(const Convolve &command, sum_t sums[POF][POY][POX], Parameters parameters, const Word &word) {
    const record_t made = parameters[record % RECORDS_PER_BEAT][record / RECORDS_PER_BEAT];
    const sum_t bias = sum_t(made) >> 5;
    const int shift = int(made & 31);
    PageWrite write = PageWrite();
    if (command.shortcut.present) {
      shortcut.keep(command.shortcut, read, word);
    }
    if (!command.shortcut.present || read == command.shortcut.words - 1) {
      sum_t outputs[POX]; // shortcut first: of loops whose numbers are equally wide, host compilers make vectors
#pragma HLS ARRAY_PARTITION variable=outputs complete
      const uint32_t present = shortcut.present() ? 0xffffffff : 0;
      const int left = (shift - command.shortcut.delta) & 31;
      for (int x = 0; x < POX; ++x) {
        outputs[x] = shortcut.pixels[x];
      }
      for (int x = 0; x < POX; ++x) {
        // Shifted as an unsigned number: C++14 leaves the left shift of a negative one undefined.
        const sum_t value = sum_t(uint32_t(outputs[x]) << left & present);
        outputs[x] = requantise(sums[lane][row][x] + bias + value, shift, command.low, command.high, command.leak);
      }
      write = output.write(command.destination, outputs, command.Nox, group.columns_end);
      next(command);
    } else {
      ++read;
    }
    return write;
  }

private:
  void next(const Convolve &command) {
    const bool map_ends = rows.last;
    const bool group_ends = map_ends && maps.last;
    output.next(command.destination, map_ends, group_ends, group.columns_end, group.rows_end);
    shortcut.next(command.shortcut, map_ends, group_ends, group.columns_end, group.rows_end);
    read = 0;
    if (group_ends) {
      const bool on = group.columns_end && group.rows_end;
      record = group_record = on ? record_address_t(record + 1) : group_record;
      live = false;
    } else if (map_ends) {
      ++record;
      ++lane;
      maps.next();
    }
    row = uint8_t(map_ends ? 0 : row + 1);
    rows.turn(group.rows);
  }
};

#endif
