/* A cgap_board that is the simulated RTL, at the other end of two named pipes (rtl/sim/harness.sv). For POSIX. */
#ifndef CGAP_SIMULATED_H
#define CGAP_SIMULATED_H

#include "cgap_driver.h"

/* Fills in the board. Start the simulation with +requests=PIPE +replies=PIPE, before or after. Returns 0 or -1. */
int cgap_simulated_open(cgap_board *board, const char *requests, const char *replies, uint64_t memory_bytes);
/* Ends the simulation. */
void cgap_simulated_close(cgap_board *board);

#endif
