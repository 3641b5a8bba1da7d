// Options of the test benches, and how they end.
#ifndef BENCH_ARGUMENTS_H
#define BENCH_ARGUMENTS_H

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "../hooks.h"

// Exit codes: 0 all equal, 1 a difference, 2 a file or an argument at fault.
constexpr int EXIT_DIFFERENT = 1;
constexpr int EXIT_UNUSABLE = 2;

struct Arguments {
  std::string program = "../program.bin";
  std::string weights = "../weights.bin";
  std::string vectors = "../vectors";
  std::string network = "network.txt";
  std::string result;     // JSON file; empty: none
  std::string outputs;    // the network's outputs, int8 [image][output][map][row][column]; empty: none
  long first = 0;         // image
  long images = -1;       // all from `first` on
  int layer = -1;         // tb_layers: only the one of this tensor; all if -1
  bool dram_only = false; // co-simulation: the feature pages cannot be seen
  bool stop = false;      // at the first command that wrote something wrong
  bool all_layers = false; // in the report, not only those that differ
  std::string timing;     // when the simulator has every command; empty: cycles are not compared
};

constexpr const char *USAGE =
    "usage: tb [options]\n"
    "  --program FILE     ../program.bin\n"
    "  --weights FILE     ../weights.bin\n"
    "  --vectors FOLDER   ../vectors, the golden values\n"
    "  --network FILE     network.txt\n"
    "  --first N          the first image, counted from 0\n"
    "  --images N         how many images; default: all from the first on\n"
    "  --layer N          tb_layers: only the layer whose tensor has this number in network.txt\n"
    "  --timing FILE      compare cycles with the simulator's in timing.txt\n"
    "  --layers           print every layer, not only those that differ\n"
    "  --stop             stop at the first command that wrote something wrong\n"
    "  --result FILE      write what was found as JSON\n"
    "  --outputs FILE     write the network's outputs, int8 [image][output][map][row][column]\n"
    "  --dram-only        co-simulation: compare outputs in DRAM alone\n"
    "  --fifo N           beats that the streams to and from DRAM hold\n"
    "  --starvation P     percent of the looks at a stream that find nothing, or no room\n"
    "  --seed N           of these\n"
    "exit code: 0 all equal, 1 a difference, 2 something could not be read\n";

[[noreturn]] inline void give_up(const std::string &why) {
  std::fprintf(stderr, "test bench: %s\n", why.c_str());
  std::exit(EXIT_UNUSABLE);
}

inline long number(const std::string &option, const char *text) {
  char *end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < 0) {
    give_up(option + " needs a number, not '" + text + "'");
  }
  return value;
}

inline Arguments parse(int argc, char **argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "-h" || option == "--help") {
      std::fputs(USAGE, stdout);
      std::exit(0);
    }
    bool *const flag = option == "--dram-only" ? &arguments.dram_only
                       : option == "--stop"    ? &arguments.stop
                       : option == "--layers"  ? &arguments.all_layers
                                               : nullptr;
    if (flag != nullptr) {
      *flag = true;
      continue;
    }
    if (i + 1 == argc) {
      give_up("no value for " + option + "; -h lists the options");
    }
    const char *value = argv[++i];
    if (option == "--program") {
      arguments.program = value;
    } else if (option == "--weights") {
      arguments.weights = value;
    } else if (option == "--vectors") {
      arguments.vectors = value;
    } else if (option == "--network") {
      arguments.network = value;
    } else if (option == "--result") {
      arguments.result = value;
    } else if (option == "--outputs") {
      arguments.outputs = value;
    } else if (option == "--first") {
      arguments.first = number(option, value);
    } else if (option == "--images") {
      arguments.images = number(option, value);
    } else if (option == "--layer") {
      arguments.layer = int(number(option, value));
    } else if (option == "--timing") {
      arguments.timing = value;
    } else if (option == "--fifo") {
      simulation.fifo = int(number(option, value));
    } else if (option == "--starvation") {
      simulation.starvation = uint32_t(number(option, value) % 100 * 42949672);
    } else if (option == "--seed") {
      simulation.random = uint32_t(number(option, value)) * 2 + 1;
    } else {
      give_up("unknown option " + option + "; -h lists the options");
    }
  }
  return arguments;
}

#endif
