// DRAM of the test benches, with the regions of a schedule.
#ifndef BENCH_DRAM_H
#define BENCH_DRAM_H

#include <cstring>
#include <string>
#include <vector>

#include "files.h"

// DRAM with the regions of a schedule, apart from one another: commands must not care where they lie.
class Dram {
public:
  Dram(const Network &network, const Schedule &schedule) : network_(network), schedule_(schedule) {
    constexpr size_t BOUNDARY = 4096;
    size_t end = BOUNDARY;
    for (int i = 0; i < 4; ++i) {
      bases_[i] = end;
      end += (schedule.regions[i] + BOUNDARY - 1) / BOUNDARY * BOUNDARY + BOUNDARY;
    }
    beats_.resize(end / BEAT_BYTES);
  }

  beat_t *data() { return beats_.data(); }
  uint64_t base(int region) const { return bases_[region]; }
  const DramPlace &place(int tensor) const { return schedule_.places[size_t(tensor)]; }
  void load(const std::string &path) {
    const size_t size = schedule_.regions[0];
    const File file(path, size > 0 ? size : 1);
    file.expect(size > 0 ? 1 : 0);
    std::vector<uint8_t> bytes(size);
    if (size > 0) {
      file.read(0, bytes.data());
    }
    put(bases_[0], bytes);
  }
  // First byte of a row of a tensor.
  size_t row(int tensor, int map, int row) const {
    const Tensor &t = network_.tensors[size_t(tensor)];
    const DramPlace &where = place(tensor);
    return bases_[where.region] + where.address + (size_t(map) * size_t(t.rows) + size_t(row)) * where.row_bytes(t);
  }
  // `count` bytes from one on that begins a beat, or lies in one with all that are asked for.
  void get(size_t address, size_t count, int8_t *bytes) const {
    for (size_t i = 0; i < count;) {
      const Beat beat = beat_of(beats_[(address + i) / BEAT_BYTES]);
      for (size_t at = (address + i) % BEAT_BYTES; at < BEAT_BYTES && i < count; ++at, ++i) {
        bytes[i] = int8_t(beat.bytes[at]);
      }
    }
  }
  // Write a golden tensor as the accelerator expects it: [map][row][word], zeros after a row's last pixel.
  void put_tensor(int tensor, const Golden &golden) {
    const Tensor &t = network_.tensors[size_t(tensor)];
    for (int map = 0; map < t.maps; ++map) {
      for (int r = 0; r < t.rows; ++r) {
        const int8_t *const pixels = golden.row(tensor, map, r);
        std::vector<uint8_t> bytes(pixels, pixels + t.columns);
        bytes.resize(size_t(t.row_words()) * WORD_PIXELS);
        put(row(tensor, map, r), bytes);
      }
    }
  }
  // The outputs of the network as they lie in DRAM, int8 [output][map][row][column].
  std::vector<int8_t> outputs() const {
    std::vector<int8_t> values;
    for (int tensor = 0; tensor < int(network_.tensors.size()); ++tensor) {
      const Tensor &t = network_.tensors[size_t(tensor)];
      for (int map = 0; place(tensor).region == 2 && map < t.maps; ++map) {
        for (int r = 0; r < t.rows; ++r) {
          values.resize(values.size() + size_t(t.columns));
          get(row(tensor, map, r), size_t(t.columns), values.data() + values.size() - size_t(t.columns));
        }
      }
    }
    return values;
  }
  // What earlier images left must not pass for a result.
  void spoil() {
    const size_t first = bases_[1] / BEAT_BYTES;
    put(bases_[1], std::vector<uint8_t>(BEAT_BYTES, 0x5a));
    for (size_t i = first + 1; i < beats_.size(); ++i) {
      beats_[i] = beats_[first];
    }
  }

private:
  // Bytes from one on that begins a beat.
  void put(size_t address, const std::vector<uint8_t> &bytes) {
    for (size_t i = 0; i < bytes.size(); i += BEAT_BYTES) {
      Beat beat = Beat();
      std::memcpy(beat.bytes, &bytes[i], bytes.size() - i < sizeof(beat.bytes) ? bytes.size() - i : sizeof(beat.bytes));
      beats_[(address + i) / BEAT_BYTES] = bits_of(beat);
    }
  }

  const Network &network_;
  const Schedule &schedule_;
  size_t bases_[4];
  std::vector<beat_t> beats_;
};

#endif
