// Compares what the commands of one image write, on chip and in DRAM, with the golden values.
#ifndef BENCH_CHECKER_H
#define BENCH_CHECKER_H

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "dram.h"
#include "../control.h"

// Compares what the commands of one image write, on chip and in DRAM, with the golden values.
class Checker {
public:
  static constexpr size_t PRINTED_LAYERS = 5;

  Checker(const Network &network, const Schedule &schedule, const Golden &golden, const Dram &dram)
      : network_(network), schedule_(schedule), golden_(golden), dram_(dram), compared_(network.tensors.size()),
        mismatches_(network.tensors.size()) {
    begin(0);
  }

  void begin(long image) {
    image_ = image;
    computed_.assign(network_.tensors.size(), 0);
    stored_.assign(network_.tensors.size(), 0);
  }

  // After a command of COMPUTE: what it wrote to its page. Addresses are those of the layout in
  // docs/microarchitecture.md, section 2, not steps of a walk.
  void check_page(uint32_t layer, uint32_t index, const Destination &destination, Features features) {
    const Part &part = command(schedule_.computes, index, layer);
    const Tensor &tensor = network_.tensors[size_t(part.tensor)];
    const Walk &place = destination.place;
    const size_t pixels = destination.packed ? WORD_PIXELS : size_t(tensor.row_words()) * WORD_PIXELS;
    found_.resize(COPIES * pixels);
    for (int m = 0; m < part.maps; m += destination.packed ? WORD_PIXELS : 1) {
      for (int r = 0; r < part.rows; ++r) {
        const int row = place.remainder + r;
        const int unit = place.bank + row / place.interleave;
        const int bank = destination.packed ? 0 : unit % POY;
        const int in_bank = unit / POY * int(place.group_words) +
                            (row % place.interleave - place.remainder) * tensor.row_words();
        const int begin = destination.packed ? place.address + m / WORD_PIXELS
                                             : place.address + m * int(place.map_words) + in_bank;
        int8_t *to = found_.data();
        for (int copy = 0; copy < COPIES; ++copy) {
          const half_word_t(*const halves)[PAGE_DEPTH] = features[copy][place.page][bank];
          for (size_t word = size_t(begin); word < size_t(begin) + pixels / WORD_PIXELS; ++word, to += WORD_PIXELS) {
            unpack<POX>(halves[0][word], to);
            unpack<POX>(halves[1][word], to + POX);
          }
        }
        const int8_t *const copies[COPIES] = {found_.data(), found_.data() + pixels};
        if (destination.packed) {
          compare_packed(part, m, r, copies);
        } else {
          compare_row(part, m, r, copies, pixels, "on chip");
        }
      }
    }
    computed_[size_t(part.tensor)] += long(part.maps) * part.rows * tensor.columns;
  }

  // After a STORE: what it wrote to DRAM.
  void check_store(uint32_t layer, uint32_t index) {
    const Part &part = command(schedule_.stores, index, layer);
    compare_dram(part);
    stored_[size_t(part.tensor)] += long(part.maps) * part.rows * network_.tensors[size_t(part.tensor)].columns;
  }

  // Without a view of the chip: a whole tensor in DRAM.
  void check_dram(int tensor) {
    const Tensor &t = network_.tensors[size_t(tensor)];
    compare_dram({tensor, 0, t.maps, 0, t.rows});
  }

  // Every pixel of a layer must have been compared once on chip, and once in DRAM if it has a place there.
  void expect_complete(int tensor) {
    const long size = long(network_.tensors[size_t(tensor)].size());
    const long stored = schedule_.places[size_t(tensor)].region >= 0 ? size : 0;
    if (computed_[size_t(tensor)] != size || stored_[size_t(tensor)] != stored) {
      say(tensor, "%ld of %ld pixels computed, %ld of %ld stored", computed_[size_t(tensor)], size,
          stored_[size_t(tensor)], stored);
    }
  }

  long mismatches() const {
    long total = 0;
    for (const long count : mismatches_) {
      total += count;
    }
    return total;
  }

  // Print and write what was found; `cycles` is more JSON for the result file, or empty.
  void report(const Arguments &arguments, long images, double seconds, const std::string &cycles) const {
    size_t differing = 0;
    const std::string *first = nullptr;
    for (size_t i = 1; i < compared_.size(); ++i) {
      const std::string &name = network_.tensors[i].name;
      if (mismatches_[i] > 0 && differing++ == 0) {
        first = &name;
      }
      if (mismatches_[i] > 0 ? differing <= PRINTED_LAYERS : arguments.all_layers && compared_[i] > 0) {
        std::printf("%-40s %12ld compared %9ld different\n", name.c_str(), compared_[i], mismatches_[i]);
      }
    }
    if (first != nullptr) {
      std::printf("%zu of %zu layers differ, %s is the first of them\n", differing, compared_.size() - 1, first->c_str());
    }
    std::printf("%ld images, %ld mismatches, %.2f s\n", images, mismatches(), seconds);
    if (arguments.result.empty()) {
      return;
    }
    std::FILE *file = std::fopen(arguments.result.c_str(), "w");
    if (file == nullptr) {
      give_up("cannot write " + arguments.result);
    }
    std::fprintf(file, "{\"first\": %ld, \"images\": %ld, \"mismatches\": %ld, \"seconds\": %.3f,%s \"layers\": [",
                 arguments.first, images, mismatches(), seconds, cycles.c_str());
    for (size_t i = 1; i < compared_.size(); ++i) {
      const char *comma = i > 1 ? "," : "";
      std::fprintf(file, "%s\n  {\"compared\": %ld, \"mismatches\": %ld}", comma, compared_[i], mismatches_[i]);
    }
    const bool written = std::fprintf(file, "\n]}\n") > 0;
    if (std::fclose(file) != 0 || !written) {
      give_up("cannot write " + arguments.result);
    }
  }

private:
  const Part &command(const std::vector<Part> &parts, uint32_t index, uint32_t layer) const {
    if (index >= parts.size() || parts[index].tensor != int(layer)) {
      give_up("program and network do not belong together: command " + std::to_string(index) + " of layer " +
              std::to_string(layer));
    }
    return parts[index];
  }
  void compare_dram(const Part &part) {
    const Tensor &tensor = network_.tensors[size_t(part.tensor)];
    const DramPlace &place = dram_.place(part.tensor);
    const size_t bytes = place.row_bytes(tensor);
    found_.resize(bytes);
    for (int m = 0; m < part.maps; ++m) {
      for (int r = 0; r < part.rows; ++r) {
        dram_.get(dram_.row(part.tensor, part.first_map + m, part.first_row + r), bytes, found_.data());
        const int8_t *const both[COPIES] = {found_.data(), found_.data()};
        compare_row(part, m, r, both, bytes, "in DRAM");
      }
    }
  }
  // A row of `pixels` pixels, zeros after the tensor's last column. A pixel is right if it is so in both copies.
  void compare_row(const Part &part, int m, int r, const int8_t *const copies[COPIES], size_t pixels, const char *where) {
    const size_t columns = size_t(network_.tensors[size_t(part.tensor)].columns);
    const int8_t *const golden = golden_.row(part.tensor, part.first_map + m, part.first_row + r);
    compared_[size_t(part.tensor)] += long(columns);
    const int8_t *const first = copies[COPY_A];
    const bool same = std::memcmp(first, golden, columns) == 0 && all_zero(first + columns, first + pixels) &&
                      std::memcmp(copies[COPY_B], first, pixels) == 0;
    for (size_t x = 0; x < pixels && !same; ++x) {
      compare(part, m, r, int(x), copies, x, x < columns ? golden[x] : 0, where);
    }
  }
  // A word of one-pixel maps, from map m of the part on; zeros after the part's last.
  void compare_packed(const Part &part, int m, int r, const int8_t *const copies[COPIES]) {
    for (int i = 0; i < WORD_PIXELS; ++i) {
      const bool exists = m + i < part.maps;
      const int wanted = exists ? *golden_.row(part.tensor, part.first_map + m + i, part.first_row + r) : 0;
      compared_[size_t(part.tensor)] += exists ? 1 : 0;
      compare(part, m + i, r, 0, copies, size_t(i), wanted, "on chip");
    }
  }
  void compare(const Part &part, int m, int r, int x, const int8_t *const copies[COPIES], size_t at, int wanted,
               const char *where) {
    const int found = copies[COPY_A][at] != wanted ? copies[COPY_A][at] : copies[COPY_B][at];
    if (found != wanted) {
      say(part.tensor, "map %d row %d column %d: %d %s, expected %d", part.first_map + m, part.first_row + r, x, found,
          where, wanted);
    }
  }
  static bool all_zero(const int8_t *begin, const int8_t *end) {
    for (; begin != end; ++begin) {
      if (*begin != 0) {
        return false;
      }
    }
    return true;
  }
  // Count a difference, and print it if it is one of the first.
  template <typename... Values> void say(int tensor, const char *format, Values... values) {
    ++mismatches_[size_t(tensor)];
    if (++printed_ <= 3) {
      std::printf("difference: %s image %ld ", network_.tensors[size_t(tensor)].name.c_str(), image_);
      std::printf(format, values...);
      std::printf("\n");
    }
  }

  const Network &network_;
  const Schedule &schedule_;
  const Golden &golden_;
  const Dram &dram_;
  long image_ = 0;
  long printed_ = 0;
  std::vector<int8_t> found_;
  std::vector<long> compared_;
  std::vector<long> mismatches_;
  std::vector<long> computed_; // pixels of this image
  std::vector<long> stored_;
};

#endif
