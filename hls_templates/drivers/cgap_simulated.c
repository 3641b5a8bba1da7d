#define _POSIX_C_SOURCE 200809L
#include "cgap_simulated.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Requests of rtl/sim/harness.sv. */
enum { WRITE_REGISTER = 1, READ_REGISTER = 2, WRITE_MEMORY = 3, READ_MEMORY = 4, WAIT = 5, MOST_CYCLES = 4096 };

typedef struct {
  FILE *requests, *replies;
} pipes;

static void send_word(FILE *file, uint64_t word) {
  for (int i = 0; i < 8; i++) putc((int)(word >> 8 * i & 0xff), file);
}

/* A simulation that has ended, for example by an assertion, leaves nothing to go on with. */
static void lost(void) {
  fprintf(stderr, "the simulation has ended\n");
  exit(1);
}

static uint64_t ask(pipes *to, uint64_t operation, uint64_t address, uint64_t value, const void *data, size_t bytes) {
  send_word(to->requests, operation);
  send_word(to->requests, address);
  send_word(to->requests, value);
  if (bytes != 0) fwrite(data, 1, bytes, to->requests);
  fflush(to->requests);
  uint64_t answer = 0;
  for (int i = 0; i < 8; i++) {
    int byte = getc(to->replies);
    if (byte == EOF) lost();
    answer |= (uint64_t)byte << 8 * i;
  }
  return answer;
}

static uint32_t read_register(void *context, uint32_t offset) {
  return (uint32_t)ask(context, READ_REGISTER, offset, 0, NULL, 0);
}

static void write_register(void *context, uint32_t offset, uint32_t value) {
  ask(context, WRITE_REGISTER, offset, value, NULL, 0);
}

static int write_memory(void *context, uint64_t address, const void *data, size_t bytes) {
  return ask(context, WRITE_MEMORY, address, bytes, data, bytes) != bytes;
}

static int read_memory(void *context, uint64_t address, void *data, size_t bytes) {
  pipes *to = context;
  return ask(to, READ_MEMORY, address, bytes, NULL, 0) != bytes || fread(data, 1, bytes, to->replies) != bytes;
}

static int wait_for_interrupt(void *context) {
  ask(context, WAIT, 0, MOST_CYCLES, NULL, 0);
  return 0;
}

int cgap_simulated_open(cgap_board *board, const char *requests, const char *replies, uint64_t memory_bytes) {
  pipes *to = malloc(sizeof *to);
  if (to == NULL) return -1;
  /* The simulation opens its replies first, and then waits for who writes requests. */
  int reading = open(replies, O_RDONLY);
  int writing = reading < 0 ? -1 : open(requests, O_WRONLY);
  if (writing < 0) {
    if (reading >= 0) close(reading);
    free(to);
    return -1;
  }
  to->replies = fdopen(reading, "rb");
  to->requests = fdopen(writing, "wb");
  *board = (cgap_board){.context = to,
                        .read_register = read_register,
                        .write_register = write_register,
                        .write_memory = write_memory,
                        .read_memory = read_memory,
                        .wait = wait_for_interrupt,
                        .memory_base = 0,
                        .memory_bytes = memory_bytes};
  return 0;
}

void cgap_simulated_close(cgap_board *board) {
  pipes *to = board->context;
  fclose(to->requests);
  fclose(to->replies);
  free(to);
}
