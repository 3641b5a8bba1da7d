// Number types and memories.
#ifndef TYPES_H
#define TYPES_H

#include <stdint.h>

#include "config.h"

// The vendor's integers are the type of the AXI ports, and of words that are wider than any number of the language.
// C simulation with its own ports does without them where it can.
#if defined(__SYNTHESIS__) || defined(SEQUENTIAL) || defined(VITIS_PORTS) || WIDE_WORDS
#define USES_AP_INT
#include <ap_int.h>
#endif

typedef int8_t pixel_t;
typedef int8_t weight_t;
typedef int16_t product_t;      // 8 x 8 bits: -128 * -128 still fits
typedef int32_t sum_t;          // exact: the compiler has proven the range of every layer's sums
typedef uint32_t record_t;      // of an output map: bias in bits 31..5 (signed), rounding shift in bits 4..0
// An unsigned number of so many bits: one of the language where there is one, which simulates faster.
#ifdef USES_AP_INT
template <int BITS> struct Unsigned { typedef ap_uint<BITS> type; };
#else
template <int BITS> struct Unsigned;
#endif
template <> struct Unsigned<8> { typedef uint8_t type; };
template <> struct Unsigned<16> { typedef uint16_t type; };
template <> struct Unsigned<32> { typedef uint32_t type; };
template <> struct Unsigned<64> { typedef uint64_t type; };
typedef Unsigned<8 * POX>::type half_word_t; // half a feature word: POX pixels of a row, lowest bits first
typedef Unsigned<8 * POF>::type weight_word_t; // a weight of each of POF maps

// A number that counts modulo 2^BITS: the mask tells the tool how wide adders and registers are.
template <int BITS> struct Modulo {
  uint32_t value;

  Modulo() : value(0) {}
  Modulo(uint32_t number) : value(number & ((uint32_t(1) << BITS) - 1)) {}
  Modulo(int32_t number) : Modulo(uint32_t(number)) {}
  operator uint32_t() const { return value; }
  Modulo &operator+=(uint32_t by) { return *this = Modulo(value + by); }
  Modulo &operator++() { return *this += 1; }
};

// Addresses are no wider than their memories are deep.
typedef Modulo<ADDRESS_BITS> address_t; // word of a feature bank
typedef Modulo<WEIGHT_ADDRESS_BITS> weight_address_t;
typedef Modulo<PARAMETER_ADDRESS_BITS> record_address_t;

// Array arguments are not const: compilers before CWG 330 cannot make a const one of an array of arrays.

// Weight word w is row w / WEIGHTS_PER_BEAT of bank w % WEIGHTS_PER_BEAT, so that a beat is written in one cycle.
typedef weight_word_t Weights[WEIGHTS_PER_BEAT][WEIGHT_ROWS];

// Record r is row r / RECORDS_PER_BEAT of bank r % RECORDS_PER_BEAT.
typedef record_t Parameters[RECORDS_PER_BEAT][PARAMETER_ROWS];

// The bytes of a number, lowest first: its pixels, weights or records. Wires in hardware.
template <int BYTES, typename Number, typename Byte> inline void unpack(const Number &number, Byte *bytes) {
#pragma GCC unroll 64
  for (int i = 0; i < BYTES; ++i) {
    bytes[i] = Byte(uint8_t(Number(number >> (8 * i))));
  }
}

// And back. Unrolled, host compilers make one access of either.
template <typename Number, int BYTES, typename Byte> inline Number pack(const Byte *bytes) {
  Number number = 0;
#pragma GCC unroll 64
  for (int i = 0; i < BYTES; ++i) {
    number |= Number(Number(uint8_t(bytes[i])) << (8 * i));
  }
  return number;
}

// Pixel x of half a word; x is a constant.
inline pixel_t pixel_of(const half_word_t &word, int x) { return pixel_t(uint8_t(half_word_t(word >> (8 * x)))); }

// A beat of DRAM inside the accelerator, and as its AXI ports have it.
struct Beat {
  uint8_t bytes[BEAT_BYTES];
};
#ifdef USES_AP_INT
typedef ap_uint<AXI_BITS> beat_t;

inline Beat beat_of(const beat_t &bits) {
  Beat beat;
  unpack<BEAT_BYTES>(bits, beat.bytes);
  return beat;
}
inline beat_t bits_of(const Beat &beat) { return pack<beat_t, BEAT_BYTES>(beat.bytes); }
#else
typedef Beat beat_t;

inline Beat beat_of(const beat_t &beat) { return beat; }
inline beat_t bits_of(const Beat &beat) { return beat; }
#endif

// A count that falls to its last: the comparison is made one cycle ahead, so that only a register decides.
template <typename Number> struct Countdown {
  Number left;
  bool last;

  void start(Number count) {
    left = count;
    last = count == 1;
  }
  void next() {
    last = left == 2;
    left = Number(left - 1);
  }
  // The last is followed by the first of `count` again.
  void turn(Number count) {
    if (last) {
      start(count);
    } else {
      next();
    }
  }
};
typedef Countdown<uint16_t> Countdown16;
typedef Countdown<uint32_t> Countdown32;

// Divide by 2^shift, to the nearest, ties to even. shift is 0 ... 31.
inline sum_t round_shift(sum_t value, int shift) {
  const sum_t quotient = value >> shift;
  const uint32_t remainder = uint32_t(value) & ((uint32_t(1) << shift) - 1);
  const uint32_t half = (uint32_t(1) << shift) >> 1;
  // Carries into bit `shift` where the remainder is above a half, or is one and the quotient odd. Below 2^32 in all cases.
  const uint32_t any = half != 0 ? 1 : 0;
  return quotient + sum_t((remainder + half - any + (uint32_t(quotient) & any)) >> shift);
}

// The one rounding of a stored pixel, then the clamp that saturates it: low is 0 after ReLU, high the bound of ReLU6. A
// leaky ReLU of slope 2^-leak shifts negative values further; from 32 bits on nothing of them is left.
inline sum_t requantise(sum_t value, int shift, sum_t low, sum_t high, int leak) {
  // In masks: of choices, host compilers make branches instead of vectors.
  const int leaky = shift + leak;
  const sum_t gone = leaky > 31 ? -1 : 0;
  const sum_t negative = LEAKY ? value >> 31 : 0;
  const sum_t rounded = round_shift(value, shift ^ ((shift ^ leaky) & 31 & negative)) & ~(negative & gone);
  const sum_t above = rounded < low ? low : rounded;
  return above > high ? high : above;
}

#endif
