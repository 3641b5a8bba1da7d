// What both test benches do: hooks of the hardware's code, images, errors, time.
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "checker.h"
#include "timing.h"

// The hooks that control calls; in a co-simulation they never are.
Probe probe = nullptr;
Simulation simulation;
static Checker *checker = nullptr;
static bool stops = false; // at the first command that wrote something wrong

inline void look(uint32_t layer, uint32_t index, const Destination *destination, Features features) {
  if (destination != nullptr) {
    checker->check_page(layer, index, *destination, features);
  } else {
    checker->check_store(layer, index);
  }
  if (stops && checker->mismatches() != 0) {
    std::printf("stopped at command %u of %s\n", unsigned(index), destination != nullptr ? "COMPUTE" : "STORE");
    std::exit(EXIT_DIFFERENT);
  }
}

// An accelerator that gave up.
inline void expect_done(uint32_t error) {
  const char *const what = error == ERROR_HEADER       ? "a program that this accelerator cannot execute"
                           : error == ERROR_CHECKSUM   ? "a damaged program"
                           : error == ERROR_COMMAND    ? "an unknown command"
                           : error == ERROR_NO_PROGRAM ? "no program"
                           : error == ERROR_WATCHDOG   ? "no unit can go on"
                                                       : "a base that is no multiple of 4 KiB";
  if (error != DONE) {
    give_up("error " + std::to_string(error) + ": " + what);
  }
}

// Images to run, from the arguments.
inline long last_image(const Arguments &arguments, const Golden &golden) {
  const long end = arguments.images < 0 ? golden.images() : arguments.first + arguments.images;
  if (arguments.first >= end || end > golden.images()) {
    give_up("images " + std::to_string(arguments.first) + " to " + std::to_string(end) + " are asked for, there are " +
            std::to_string(golden.images()));
  }
  return end;
}

class Stopwatch {
public:
  void start() { begin_ = std::chrono::steady_clock::now(); }
  void stop() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }
  double seconds() const { return seconds_; }

private:
  std::chrono::steady_clock::time_point begin_;
  double seconds_ = 0;
};

#endif
