// What a test bench must know of a network and no accelerator does: tensors, places, coordinates of commands.
#ifndef BENCH_NETWORK_H
#define BENCH_NETWORK_H

#include <fstream>
#include <string>
#include <vector>

#include "arguments.h"

struct Tensor {
  std::string name;
  std::string file;       // golden values, int8 [image][map][row][column]
  int maps;
  int rows;
  int columns;
  std::vector<int> reads; // tensors that its layer reads

  size_t size() const { return size_t(maps) * size_t(rows) * size_t(columns); }
  int row_words() const { return (columns + WORD_PIXELS - 1) / WORD_PIXELS; }
};

// Where a tensor lies in DRAM; region -1: nowhere.
struct DramPlace {
  int region = -1;
  size_t address = 0;
  bool packed = false; // one-pixel maps, side by side

  size_t row_bytes(const Tensor &tensor) const { return packed ? 1 : size_t(tensor.row_words()) * WORD_PIXELS; }
};

// What a command of COMPUTE or STORE makes, in coordinates of its layer's tensor.
struct Part {
  int tensor;
  int first_map;
  int maps;
  int first_row;
  int rows;
};

// One schedule of the network: of the whole, or of its layers one by one.
struct Schedule {
  size_t regions[4]; // bytes
  std::vector<DramPlace> places;
  std::vector<Part> computes; // in the order of the commands
  std::vector<Part> stores;
};

// What a test bench must know of a network and no accelerator does: tensors, and the coordinates of its commands.
class Network {
public:
  std::vector<Tensor> tensors; // the input, then every layer's output; a command's `layer` is an index here
  Schedule whole;
  Schedule layerwise;

  explicit Network(const std::string &path) : path_(path), file_(path) {
    std::string line;
    if (!file_ || file_.peek() == std::ifstream::traits_type::eof()) {
      give_up("cannot read " + path);
    }
    while (file_.peek() == '#' && std::getline(file_, line)) {
    }
    for (size_t count = read("tensors"); count > 0; --count) {
      Tensor tensor;
      file_ >> tensor.file >> tensor.maps >> tensor.rows >> tensor.columns;
      for (size_t reads = read("reads"); reads > 0; --reads) {
        int index = 0;
        file_ >> index;
        tensor.reads.push_back(index);
      }
      std::getline(file_, tensor.name);
      tensor.name.erase(0, 1); // the space before it
      tensors.push_back(tensor);
    }
    read_schedule(whole);
    read_schedule(layerwise);
    if (!file_) {
      give_up(path + " is cut off");
    }
  }

private:
  std::string path_;
  std::ifstream file_;

  // The number after a word.
  size_t read(const std::string &word) {
    std::string found;
    size_t value = 0;
    file_ >> found >> value;
    if (!file_ || found != word) {
      give_up(path_ + " describes no network: no " + word);
    }
    return value;
  }
  void read_schedule(Schedule &schedule) {
    for (size_t &bytes : schedule.regions) {
      bytes = read("region");
    }
    schedule.places.resize(tensors.size());
    for (size_t count = read("places"); count > 0; --count) {
      size_t tensor = 0;
      DramPlace place;
      file_ >> tensor >> place.region >> place.address >> place.packed;
      if (tensor >= tensors.size()) {
        give_up(path_ + " has a place of no tensor");
      }
      schedule.places[tensor] = place;
    }
    read_parts("computes", schedule.computes);
    read_parts("stores", schedule.stores);
  }
  void read_parts(const std::string &word, std::vector<Part> &parts) {
    for (size_t count = read(word); count > 0; --count) {
      Part part;
      file_ >> part.tensor >> part.first_map >> part.maps >> part.first_row >> part.rows;
      parts.push_back(part);
    }
  }
};

#endif
