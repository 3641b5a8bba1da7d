// The two functions of LZ4 that Verilator's writer of FST calls, so that waveforms need no LZ4 library: blocks of literals,
// which every reader of LZ4 takes. The writer keeps the values that a block does not shorten as they are, and compresses
// the rest with zlib.
#ifndef CGAP_LZ4_H
#define CGAP_LZ4_H

#include <cstring>

// Bytes of the block of `size` bytes, at most.
inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

// Writes the block of `size` bytes; returns its length, or 0 if it is longer than `room`.
inline int LZ4_compress_default(const char* from, char* to, int size, int room) {
    constexpr int kInToken = 15;  // lengths from here on are continued in bytes of at most 255
    if (room < LZ4_compressBound(size)) return 0;
    char* end = to;
    *end++ = static_cast<char>((size < kInToken ? size : kInToken) << 4);
    if (size >= kInToken) {
        int rest = size - kInToken;
        for (; rest >= 255; rest -= 255) *end++ = static_cast<char>(255);
        *end++ = static_cast<char>(rest);
    }
    std::memcpy(end, from, static_cast<size_t>(size));
    return static_cast<int>(end - to) + size;
}

#endif  // CGAP_LZ4_H
