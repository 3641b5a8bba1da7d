/* Driver of a cgap accelerator in C99, without an operating system or a library beyond <string.h> (docs/rtl.md).
 *
 * The accelerator is reached through a cgap_board: functions that read and write its registers and the DRAM that it sees.
 * On a board these are a few lines around mapped memory; cgap_simulated.h has those for the simulated RTL.
 *
 *   cgap_device device;
 *   cgap_open(&device, &board);
 *   cgap_load_program(&device, program, program_bytes);
 *   cgap_load_weights(&device, weights, weights_bytes);
 *   cgap_run(&device, &input, images, count, outputs, output_count, results);
 *
 * Every function returns CGAP_OK or an error; cgap_message says what it means.
 */
#ifndef CGAP_DRIVER_H
#define CGAP_DRIVER_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  void *context; /* given to every function */
  uint32_t (*read_register)(void *context, uint32_t offset);
  void (*write_register)(void *context, uint32_t offset, uint32_t value);
  /* Copies to and from DRAM, past any cache. Return 0, or another number if that fails. */
  int (*write_memory)(void *context, uint64_t address, const void *data, size_t bytes);
  int (*read_memory)(void *context, uint64_t address, void *data, size_t bytes);
  /* Waits a while, for example for the interrupt. May be NULL. Returns another number than 0 to give up. */
  int (*wait)(void *context);
  uint64_t memory_base; /* the part of DRAM that is the accelerator's, from a multiple of 4 KiB on */
  uint64_t memory_bytes;
} cgap_board;

typedef enum {
  CGAP_OK = 0,
  CGAP_STOPPED = 1,    /* the accelerator stopped: device.error is its register ERROR */
  CGAP_NO_NETWORK = 2, /* a program and its weights come first */
  CGAP_LENGTH = 3,     /* weights.bin is not as long as the program says, or program.bin is shorter than its header */
  CGAP_NO_ROOM = 4,    /* the memory is too small */
  CGAP_MEMORY = 5,     /* write_memory or read_memory failed */
  CGAP_NO_ANSWER = 6   /* wait gave up */
} cgap_result;

/* Where one image's tensor lies in its region: a line of tensors.txt. Data of the host is int8 [map][row][column]. */
typedef struct {
  uint32_t maps, rows, columns;
  uint32_t offset;
  uint32_t packed;      /* 1: maps of one pixel lie side by side */
  uint32_t word_pixels; /* elsewhere rows are padded to multiples of this */
} cgap_tensor;

typedef struct {
  const cgap_board *board;
  uint32_t watchdog; /* cycles without progress after which the accelerator gives up */
  uint32_t error;
  uint64_t cycles; /* of the last image */
  /* The driver's own. */
  uint64_t program_end, parameter_base, feature_base, free_base;
  uint32_t parameter_bytes, input_bytes, output_bytes, feature_bytes;
  int loaded;
} cgap_device;

cgap_result cgap_open(cgap_device *device, const cgap_board *board);
/* Back to idle, also out of an error or in the middle of a run; a program that was loaded stays. */
cgap_result cgap_reset(cgap_device *device);
cgap_result cgap_load_program(cgap_device *device, const uint8_t *program, size_t bytes);
cgap_result cgap_load_weights(cgap_device *device, const uint8_t *weights, size_t bytes);

/* Runs `count` images with one start. `outputs` are `output_count` tensors, and results[k] gets all images of tensor k. */
cgap_result cgap_run(cgap_device *device, const cgap_tensor *input, const int8_t *images, uint32_t count,
                     const cgap_tensor *outputs, uint32_t output_count, int8_t *const *results);

/* What a result means; of CGAP_STOPPED what the accelerator's error does. */
const char *cgap_message(const cgap_device *device, cgap_result result);

#endif
