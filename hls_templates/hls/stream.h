// Streams between the processes, and AXI ports. C simulation has its own (bench/simulation.h).
#ifndef STREAM_H
#define STREAM_H

#include "hooks.h"

// SEQUENTIAL: one process, whose units take turns, for tools without manual bursts (Vivado HLS). VITIS_PORTS: the vendor's
// bursts in C simulation, too, as co-simulation needs them.
#if defined(SEQUENTIAL)
typedef const beat_t *ReadPort;
typedef beat_t *WritePort;
#elif defined(__SYNTHESIS__) || defined(VITIS_PORTS)
#include <hls_burst_maxi.h>
typedef hls::burst_maxi<beat_t> ReadPort;
typedef hls::burst_maxi<beat_t> WritePort;
#endif
#if defined(__SYNTHESIS__) && !defined(SEQUENTIAL)
#include <hls_stream.h>
template <typename T, int DEPTH> using Stream = hls::stream<T, DEPTH>;
#endif

#endif
