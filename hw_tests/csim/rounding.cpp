// Prints requantise() of the emitted types.h as bytes: all small accumulators at all small shifts, then the extremes.
#include <cstdio>

#include "types.h"

static void print(sum_t value, int shift) {
  std::putchar(uint8_t(requantise(value, shift, -128, 127, 0)));
  std::putchar(uint8_t(requantise(value, shift, 0, 127, 0)));
  std::putchar(uint8_t(requantise(value, shift, 0, 96, 0)));
  std::putchar(uint8_t(requantise(value, shift, -128, 127, 1)));
  std::putchar(uint8_t(requantise(value, shift, -128, 50, 31)));
}

int main() {
  for (int shift = 0; shift <= 12; ++shift) {
    for (sum_t value = -8192; value <= 8192; ++value) {
      print(value, shift);
    }
  }
  for (int shift = 0; shift <= 31; ++shift) {
    for (int64_t offset = 0; offset <= 300; ++offset) {
      print(sum_t(INT32_MIN + offset), shift);
      print(sum_t(INT32_MAX - offset), shift);
      for (int64_t half = -1; half <= 1; ++half) {
        const int64_t centre = ((offset - 150) * 2 + 1) * (int64_t(1) << shift) / 2 + half;
        print(sum_t(centre < INT32_MIN || centre > INT32_MAX ? 0 : centre), shift);
      }
    }
  }
  return 0;
}
