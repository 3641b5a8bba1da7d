// Program memory, and how program.bin gets there.
#ifndef PROGRAM_H
#define PROGRAM_H

#include "control.h"

// Commands of the three units, loaded once for any number of images.
struct Program {
  uint64_t load[LOAD_COMMANDS * LOAD_WORDS];
  uint64_t compute[COMPUTE_COMMANDS * COMPUTE_WORDS];
  uint64_t store[STORE_COMMANDS * STORE_WORDS];
  uint32_t loads;
  uint32_t computes;
  uint32_t stores;
  bool loaded;
};

// CRC-32 (IEEE 802.3) of one more word. It is linear: each bit that is 1 adds a constant of its own, without carry. So a
// word is one tree of exclusive ors, where 64 steps, each waiting for the one before, would take many cycles.
inline uint32_t crc_of(uint32_t crc, uint64_t word) {
  const uint64_t bits = word ^ crc;
  uint32_t sum = 0, share = 1;
  for (int bit = 63; bit >= 0; --bit) {
    share = (share >> 1) ^ ((share & 1) != 0 ? uint32_t(0xedb88320) : 0);
    sum ^= (bits >> bit & 1) != 0 ? share : 0;
  }
  return sum;
}

// What is known of a program while it is read: its checksum, and whether all its commands are ones that there are.
struct Reading {
  uint32_t crc;
  bool known;
};

// Read one unit's commands, of opcode `first` or `second`, and the rest of the 128 bytes to which they are padded.
template <int COMMANDS, int WORDS>
inline uint32_t load_section(const uint64_t *section, uint32_t commands, uint8_t first, uint8_t second,
                             uint64_t memory[COMMANDS * WORDS], Reading &reading) {
  const uint32_t count = commands * WORDS;
  const uint32_t end = (count + 15) / 16 * 16;
  uint8_t place = 0; // of the word in its command
words:
  for (uint32_t i = 0; i < end; ++i) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT max=COMMANDS*WORDS
    const uint64_t word = section[i];
    reading.crc = crc_of(reading.crc, word);
    if (i < count) {
      memory[i] = word;
      const uint8_t opcode = uint8_t(field<0, OPCODE_BITS>(&word));
      reading.known = reading.known && (place != 0 || opcode == first || opcode == second);
    }
    place = uint8_t(place == WORDS - 1 ? 0 : place + 1);
  }
  return end;
}

// Read a program into its memory: one that this accelerator cannot execute, or a damaged one, is refused.
inline uint32_t load_program(const uint64_t *words, Program &program) {
#pragma HLS INLINE recursive
  uint64_t head[HEADER_WORDS];
  Reading reading = {0xffffffff, true};
head_words:
  for (int i = 0; i < HEADER_WORDS; ++i) {
#pragma HLS PIPELINE II=1
    const uint64_t word = words[i];
    head[i] = word;
    reading.crc = crc_of(reading.crc, i == 1 ? word & 0xffffffff : word); // the checksum itself, in the upper half, counts as zero
  }
  program.loaded = false;
  if (!executes(head)) {
    return ERROR_HEADER;
  }
  program.loads = field<HEADER_LOAD_COMMANDS, 32>(head);
  program.computes = field<HEADER_COMPUTE_COMMANDS, 32>(head);
  program.stores = field<HEADER_STORE_COMMANDS, 32>(head);
  uint32_t at = HEADER_WORDS;
  at += load_section<LOAD_COMMANDS, LOAD_WORDS>(words + at, program.loads, LOAD_OPCODE, LOAD_OPCODE, program.load, reading);
  at += load_section<COMPUTE_COMMANDS, COMPUTE_WORDS>(words + at, program.computes, CONVOLVE_OPCODE, POOL_OPCODE,
                                                      program.compute, reading);
  load_section<STORE_COMMANDS, STORE_WORDS>(words + at, program.stores, STORE_OPCODE, STORE_OPCODE, program.store, reading);
  if (~reading.crc != field<HEADER_CRC, 32>(head)) {
    return ERROR_CHECKSUM;
  }
  program.loaded = reading.known;
  return reading.known ? DONE : ERROR_COMMAND;
}

#endif
