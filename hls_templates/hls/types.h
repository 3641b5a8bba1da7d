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

// DRAM's beats, feature words and weight words inside the accelerator: 64 bits at a time, lowest first. A whole word of the
// language is cheap to simulate, and no logic in hardware.
constexpr int CHUNK_BITS = 64;
constexpr int chunks_for(int bits) { return (bits + CHUNK_BITS - 1) / CHUNK_BITS; }
constexpr int BEAT_CHUNKS = chunks_for(AXI_BITS);
constexpr int WORD_CHUNKS = chunks_for(16 * POX);

struct Beat {
  uint64_t chunks[BEAT_CHUNKS];
};

inline Beat beat_of(const Beat &beat) { return beat; }

// A word of BITS bits out of chunks and back, from bit `low` on, a constant.
template <typename Number, int BITS> struct Chunked {
  static Number take(const uint64_t *chunks, int low) { return Number(chunks[low / CHUNK_BITS] >> (low % CHUNK_BITS)); }
  static void put(const Number &word, uint64_t *chunks, int low) {
    chunks[low / CHUNK_BITS] |= uint64_t(word) << (low % CHUNK_BITS);
  }
};
#ifdef USES_AP_INT
template <int WIDTH, int BITS> struct Chunked<ap_uint<WIDTH>, BITS> {
  static ap_uint<WIDTH> take(const uint64_t *chunks, int low) {
    ap_uint<WIDTH> word = 0;
    for (int i = 0; i < BITS / CHUNK_BITS; ++i) {
      word.range(CHUNK_BITS * i + CHUNK_BITS - 1, CHUNK_BITS * i) = chunks[low / CHUNK_BITS + i];
    }
    return word;
  }
  static void put(const ap_uint<WIDTH> &word, uint64_t *chunks, int low) {
    for (int i = 0; i < BITS / CHUNK_BITS; ++i) {
      chunks[low / CHUNK_BITS + i] = word.range(CHUNK_BITS * i + CHUNK_BITS - 1, CHUNK_BITS * i).to_uint64();
    }
  }
};
#endif
typedef Chunked<half_word_t, 8 * POX> HalfChunks;
typedef Chunked<weight_word_t, 8 * POF> WeightChunks;

// Put a beat into a word that is PARTS beats long, as its part `part`.
template <int CHUNKS, int PARTS> inline void put_beat(uint64_t chunks[CHUNKS], const Beat &beat, int part) {
#pragma HLS INLINE
  for (int p = 0; p < PARTS; ++p) {
    if (p == part && AXI_BITS >= CHUNK_BITS) {
      for (int i = 0; i < BEAT_CHUNKS; ++i) {
        chunks[p * BEAT_CHUNKS + i] = beat.chunks[i];
      }
    } else if (p == part) {
      const int low = p * AXI_BITS % CHUNK_BITS;
      const uint64_t before = low == 0 ? 0 : chunks[p * AXI_BITS / CHUNK_BITS];
      chunks[p * AXI_BITS / CHUNK_BITS] = before | beat.chunks[0] << low;
    }
  }
}

// Part `part` of such a word.
template <int CHUNKS, int PARTS> inline Beat get_beat(const uint64_t chunks[CHUNKS], int part) {
#pragma HLS INLINE
  Beat beat;
  for (int i = 0; i < BEAT_CHUNKS; ++i) {
    beat.chunks[i] = 0;
  }
  for (int p = 0; p < PARTS; ++p) {
    if (p == part && AXI_BITS >= CHUNK_BITS) {
      for (int i = 0; i < BEAT_CHUNKS; ++i) {
        beat.chunks[i] = chunks[p * BEAT_CHUNKS + i];
      }
    } else if (p == part) {
      beat.chunks[0] = chunks[p * AXI_BITS / CHUNK_BITS] >> (p * AXI_BITS % CHUNK_BITS) & 0xffffffff;
    }
  }
  return beat;
}

inline uint8_t low_byte(uint64_t word) { return uint8_t(word); }
#ifdef USES_AP_INT
template <int BITS> inline uint8_t low_byte(const ap_uint<BITS> &word) { return uint8_t(word.to_uint64()); }

// A beat as the AXI ports have it.
typedef ap_uint<AXI_BITS> beat_t;

inline Beat beat_of(const beat_t &bits) {
#pragma HLS INLINE
  Beat beat;
  for (int i = 0; i < BEAT_CHUNKS; ++i) {
    beat.chunks[i] = bits.range(min_of(CHUNK_BITS * (i + 1), AXI_BITS) - 1, CHUNK_BITS * i).to_uint64();
  }
  return beat;
}

inline beat_t bits_of(const Beat &beat) {
#pragma HLS INLINE
  beat_t bits = 0;
  for (int i = 0; i < BEAT_CHUNKS; ++i) {
    bits.range(min_of(CHUNK_BITS * (i + 1), AXI_BITS) - 1, CHUNK_BITS * i) = beat.chunks[i];
  }
  return bits;
}
#else
typedef Beat beat_t;

inline Beat bits_of(const Beat &beat) { return beat; }
#endif

// Pixel x of half a word; x is a constant.
inline pixel_t pixel_of(const half_word_t &word, int x) {
#pragma HLS INLINE
  return pixel_t(low_byte(half_word_t(word >> (8 * x))));
}

// All of its pixels. Unrolled, host compilers make one access of it, and likewise below.
inline void pixels_of(const half_word_t &word, pixel_t pixels[POX]) {
#pragma HLS INLINE
#pragma GCC unroll 64
  for (int x = 0; x < POX; ++x) {
    pixels[x] = pixel_of(word, x);
  }
}

// Half a word of POX pixels.
inline half_word_t half_word_of(const pixel_t pixels[POX]) {
#pragma HLS INLINE
  half_word_t word = 0;
#pragma GCC unroll 64
  for (int x = 0; x < POX; ++x) {
    word |= half_word_t(half_word_t(uint8_t(pixels[x])) << (8 * x));
  }
  return word;
}

// A count that falls to its last: the comparison is made one cycle ahead, so that only a register decides.
template <typename Number> struct Countdown {
  Number left;
  bool last;

  void start(Number count) {
#pragma HLS INLINE
    left = count;
    last = count == 1;
  }
  void next() {
#pragma HLS INLINE
    last = left == 2;
    left = Number(left - 1);
  }
};
typedef Countdown<uint16_t> Countdown16;
typedef Countdown<uint32_t> Countdown32;

// Divide by 2^shift, to the nearest, ties to even. shift is 0 ... 31.
inline sum_t round_shift(sum_t value, int shift) {
#pragma HLS INLINE
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
#pragma HLS INLINE
  const int bits = LEAKY && value < 0 ? shift + leak : shift;
  const sum_t shifted = round_shift(value, bits & 31);
  const sum_t rounded = LEAKY && bits > 31 ? 0 : shifted;
  const sum_t above = rounded < low ? low : rounded;
  return above > high ? high : above;
}

#endif
