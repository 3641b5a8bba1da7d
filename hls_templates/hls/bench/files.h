// Binary files: golden values, weights, programs.
#ifndef BENCH_FILES_H
#define BENCH_FILES_H

#include <climits>
#include <cstdio>
#include <string>
#include <vector>

#include "network.h"

// A binary file that is known to hold a whole number of records.
class File {
public:
  File(const std::string &path, size_t record) : path_(path), record_(record), file_(std::fopen(path.c_str(), "rb")) {
    // A folder can be opened, too, and has no end that could be a size.
    const bool open = file_ != nullptr && std::fseek(file_, 0, SEEK_END) == 0;
    const long end = open ? std::ftell(file_) : -1;
    if (end < 0 || end == LONG_MAX) {
      give_up("cannot read " + path + (open ? ": is it a folder?" : ""));
    }
    bytes_ = size_t(end);
  }
  File(const File &) = delete;
  File &operator=(const File &) = delete;
  ~File() { std::fclose(file_); }

  long records() const { return long(bytes_ / record_); }
  void expect(long count) const {
    if (bytes_ != record_ * size_t(count)) {
      give_up(path_ + " has " + std::to_string(bytes_) + " bytes, " + std::to_string(record_ * size_t(count)) +
              " are expected");
    }
  }
  void read(long index, void *data) const {
    const bool found = std::fseek(file_, index * long(record_), SEEK_SET) == 0;
    if (!found || std::fread(data, 1, record_, file_) != record_) {
      give_up("cannot read record " + std::to_string(index) + " of " + path_);
    }
  }

private:
  std::string path_;
  size_t record_;
  std::FILE *file_;
  size_t bytes_ = 0;
};

// The golden values of one image at a time.
class Golden {
public:
  Golden(const std::string &folder, const Network &network) : network_(network) {
    for (const Tensor &tensor : network.tensors) {
      files_.emplace_back(new File(folder + "/" + tensor.file, tensor.size()));
      values_.emplace_back(tensor.size());
    }
    images_ = files_[0]->records();
    for (const File *file : files_) {
      file->expect(images_);
    }
  }
  Golden(const Golden &) = delete;
  Golden &operator=(const Golden &) = delete;
  ~Golden() {
    for (File *file : files_) {
      delete file;
    }
  }

  long images() const { return images_; }
  void select(long image) {
    for (size_t i = 0; i < files_.size(); ++i) {
      files_[i]->read(image, values_[i].data());
    }
  }
  // The first pixel of a row.
  const int8_t *row(int tensor, int map, int row) const {
    const Tensor &t = network_.tensors[size_t(tensor)];
    return values_[size_t(tensor)].data() + (size_t(map) * size_t(t.rows) + size_t(row)) * size_t(t.columns);
  }

private:
  const Network &network_;
  std::vector<File *> files_;
  std::vector<std::vector<int8_t>> values_;
  long images_ = 0;
};

#endif
