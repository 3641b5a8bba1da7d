// Feature pages and their ports: one read of each copy and one write of a page in a cycle.
#ifndef PAGES_H
#define PAGES_H

#include "hooks.h"

// Feature pages, twice: the array reads copy A, the drain and STORE read copy B, and every write goes to both. So each
// is a memory with one read and one write port, which every tool can make. The two halves of a word are memories of
// their own, so that the drain, which makes POX pixels at a time, always writes whole memory words: no byte enables.
constexpr int COPIES = 2;
constexpr int COPY_A = 0;
constexpr int COPY_B = 1;
typedef half_word_t Features[COPIES][PAGES][POY][2][PAGE_DEPTH];

struct Word {
  half_word_t half[2];
};

// A word of one bank of copy B, as the drain or STORE asks for it.
struct PageRead {
  bool live;
  uint8_t page;
  uint8_t bank;
  address_t address;
};

// A word of one bank, or a half of it, as the drain or LOAD writes it to both copies.
struct PageWrite {
  bool live[2]; // by half
  uint8_t page;
  uint8_t bank;
  address_t address;
  Word word;
};

inline half_word_t read_half(Features features, int copy, int page, int bank, int half, address_t address) {
  half_read(page, bank, half, address);
  return features[copy][page][bank][half][address];
}

// The read ports of copy B: the drain's word and STORE's, which lie in different pages.
inline void read_copy_b(Features features, const PageRead &drain, const PageRead &store, Word &drained, Word &stored) {
  ports_wanted(drain.live, drain.page, store.live, store.page);
  if (drain.live || store.live) {
    for (int page = 0; page < PAGES; ++page) {
      const bool stores = store.live && store.page == page;
      const bool drains = drain.live && drain.page == page;
      if (stores || drains) {
        const PageRead read = stores ? store : drain;
        const Word word = {{read_half(features, COPY_B, page, read.bank, 0, read.address),
                            read_half(features, COPY_B, page, read.bank, 1, read.address)}};
        stored = stores ? word : stored;
        drained = drains ? word : drained;
      }
    }
  }
}

// The write ports: the drain's word and LOAD's, which lie in different pages.
inline void write_pages(Features features, const PageWrite &drain, const PageWrite &load) {
  const bool drains = drain.live[0] || drain.live[1];
  const bool loads = load.live[0] || load.live[1];
  ports_wanted(drains, drain.page, loads, load.page);
  if (drains || loads) {
    for (int page = 0; page < PAGES; ++page) {
      const bool by_load = loads && load.page == page;
      if (by_load || (drains && drain.page == page)) {
        const PageWrite write = by_load ? load : drain;
        for (int half = 0; half < 2; ++half) {
          if (write.live[half]) {
            for (int copy = 0; copy < COPIES; ++copy) {
              features[copy][page][write.bank][half][write.address] = write.word.half[half];
            }
            half_written(page, write.bank, half, write.address);
          }
        }
      }
    }
  }
}

#endif
