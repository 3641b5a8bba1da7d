// When the simulator has every command start and complete, beside what the C++ takes.
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "network.h"

// When the simulator has every command start and complete, from timing.txt, and what the C++ took.
class Timing {
public:
  explicit Timing(const std::string &path) {
    static const char *const UNITS[] = {"load", "compute", "store"};
    std::ifstream file(path);
    std::string word;
    while (file.peek() == '#' && std::getline(file, word)) {
    }
    for (int unit = 0; unit < 3; ++unit) {
      size_t count = 0;
      file >> word >> count;
      if (!file || word != UNITS[unit]) {
        give_up(path + " has no times of " + UNITS[unit]);
      }
      expected_[unit].resize(count);
      for (Event &event : expected_[unit]) {
        file >> event.layer >> event.start >> event.done;
      }
    }
    if (!file) {
      give_up(path + " is cut off");
    }
  }

  // Print cycles of layers and network beside the simulator's; units' commands as JSON.
  std::string report(const Network &network) const {
    const std::vector<long> found = layers(network, simulation.events);
    const std::vector<long> wanted = layers(network, expected_);
    std::printf("%-40s %12s %12s %10s\n", "layer", "cycles", "simulator", "difference");
    long total[2] = {0, 0};
    for (size_t i = 1; i < found.size(); ++i) {
      if (found[i] != 0 || wanted[i] != 0) {
        std::printf("%-40s %12ld %12ld %10ld\n", network.tensors[i].name.c_str(), found[i], wanted[i], found[i] - wanted[i]);
      }
      total[0] += found[i];
      total[1] += wanted[i];
    }
    std::printf("%-40s %12ld %12ld %10ld\n", "network", total[0], total[1], total[0] - total[1]);
    std::string text = " \"cycles\": " + std::to_string(total[0]) + ", \"layer_times\": [";
    for (size_t i = 1; i < found.size(); ++i) {
      text += (i > 1 ? ",[" : "[") + std::to_string(found[i]) + "," + std::to_string(bytes(0, i)) + "," +
              std::to_string(bytes(2, i)) + "]";
    }
    text += "], \"commands\": [";
    for (int unit = 0; unit < 3; ++unit) {
      text += unit > 0 ? ", [" : "[";
      for (size_t i = 0; i < simulation.events[unit].size(); ++i) {
        const Event &event = simulation.events[unit][i];
        text += (i > 0 ? ",\n[" : "\n[") + std::to_string(event.layer) + "," + std::to_string(event.start) + "," +
                std::to_string(event.done) + "," + std::to_string(event.beats) + "]";
      }
      text += "]";
    }
    return text + "],";
  }

private:
  std::vector<Event> expected_[3];

  // What a unit moves for a layer.
  static uint64_t bytes(int unit, size_t layer) {
    uint64_t beats = 0;
    for (const Event &event : simulation.events[unit]) {
      beats += event.layer == layer ? event.beats : 0;
    }
    return beats * BEAT_BYTES;
  }

  // By how much each layer delays the network, from the first command's start on.
  static std::vector<long> layers(const Network &network, const std::vector<Event> events[3]) {
    std::vector<uint64_t> latest(network.tensors.size(), 0);
    uint64_t begin = UINT64_MAX;
    for (int unit = 0; unit < 3; ++unit) {
      for (const Event &event : events[unit]) {
        uint64_t &last = latest[event.layer];
        last = last > event.done + 1 ? last : event.done + 1;
        begin = begin < event.start ? begin : event.start;
      }
    }
    std::vector<long> cycles(latest.size(), 0);
    uint64_t end = begin;
    for (size_t i = 0; i < latest.size(); ++i) {
      cycles[i] = latest[i] > end ? long(latest[i] - end) : 0;
      end = latest[i] > end ? latest[i] : end;
    }
    return cycles;
  }
};

#endif
