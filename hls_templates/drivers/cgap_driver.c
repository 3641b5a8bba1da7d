#include "cgap_driver.h"

#include <string.h>

#include "cgap_registers.h"

enum { ALIGN = 4096, DEFAULT_WATCHDOG = 1 << 20, LOOKS = 100, ROW = 256 };

static uint64_t rounded(uint64_t value) { return (value + ALIGN - 1) / ALIGN * ALIGN; }

static uint32_t get(const cgap_device *device, uint32_t offset) {
  return device->board->read_register(device->board->context, offset);
}

static void put(const cgap_device *device, uint32_t offset, uint32_t value) {
  device->board->write_register(device->board->context, offset, value);
}

static void put_long(const cgap_device *device, uint32_t offset, uint64_t value) {
  put(device, offset, (uint32_t)value);
  put(device, offset + 4, (uint32_t)(value >> 32));
}

static int pause_a_while(const cgap_device *device) {
  return device->board->wait != NULL && device->board->wait(device->board->context) != 0;
}

/* Waits until the accelerator is idle or has stopped with an error. */
static cgap_result until_idle(cgap_device *device) {
  uint32_t status;
  while (!((status = get(device, CGAP_STATUS)) & (CGAP_STATUS_IDLE | CGAP_STATUS_ERROR))) {
    if (pause_a_while(device)) return CGAP_NO_ANSWER;
  }
  if (!(status & CGAP_STATUS_ERROR)) return CGAP_OK;
  /* Bursts that are open come to their end first, if the memory still answers. */
  for (int i = 0; i < LOOKS && !(get(device, CGAP_STATUS) & CGAP_STATUS_IDLE); i++) {
  }
  device->error = get(device, CGAP_ERROR);
  return CGAP_STOPPED;
}

cgap_result cgap_open(cgap_device *device, const cgap_board *board) {
  memset(device, 0, sizeof *device);
  device->board = board;
  device->watchdog = DEFAULT_WATCHDOG;
  return cgap_reset(device);
}

cgap_result cgap_reset(cgap_device *device) {
  /* A reset waits for open bursts; where the memory never answers them, a second one does not. */
  put(device, CGAP_CTRL, CGAP_CTRL_RESET);
  int looks = 0;
  while (!(get(device, CGAP_STATUS) & CGAP_STATUS_IDLE)) {
    if (++looks == LOOKS) put(device, CGAP_CTRL, CGAP_CTRL_RESET);
    if (pause_a_while(device)) return CGAP_NO_ANSWER;
  }
  put(device, CGAP_IRQ_STATUS, CGAP_IRQ_STATUS_DONE | CGAP_IRQ_STATUS_ERROR);
  device->error = 0;
  return CGAP_OK;
}

static uint32_t word_of(const uint8_t *bytes) {
  return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static int fits(const cgap_device *device, uint64_t end) {
  return end <= device->board->memory_base + device->board->memory_bytes;
}

cgap_result cgap_load_program(cgap_device *device, const uint8_t *program, size_t bytes) {
  const cgap_board *board = device->board;
  device->loaded = 0;
  device->parameter_base = 0;
  if (bytes < CGAP_HEADER_BYTES) return CGAP_LENGTH;
  device->parameter_bytes = word_of(program + CGAP_HEADER_PARAMETER_BYTES);
  device->input_bytes = word_of(program + CGAP_HEADER_INPUT_BYTES);
  device->output_bytes = word_of(program + CGAP_HEADER_OUTPUT_BYTES);
  device->feature_bytes = word_of(program + CGAP_HEADER_FEATURE_BYTES);
  device->program_end = board->memory_base + rounded(bytes);
  if (!fits(device, device->program_end)) return CGAP_NO_ROOM;
  if (board->write_memory(board->context, board->memory_base, program, bytes) != 0) return CGAP_MEMORY;
  /* No base may be left over from whoever used the accelerator before: all are checked. */
  static const uint32_t bases[] = {CGAP_PARAMETER_BASE, CGAP_INPUT_BASE,   CGAP_OUTPUT_BASE,
                                   CGAP_FEATURE_BASE,   CGAP_INPUT_STRIDE, CGAP_OUTPUT_STRIDE};
  for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) put_long(device, bases[i], 0);
  put_long(device, CGAP_PROGRAM_BASE, board->memory_base);
  put(device, CGAP_WATCHDOG, device->watchdog);
  put(device, CGAP_CTRL, CGAP_CTRL_LOAD);
  cgap_result result = until_idle(device);
  device->loaded = result == CGAP_OK;
  return result;
}

cgap_result cgap_load_weights(cgap_device *device, const uint8_t *weights, size_t bytes) {
  const cgap_board *board = device->board;
  if (!device->loaded) return CGAP_NO_NETWORK;
  if (bytes != device->parameter_bytes) return CGAP_LENGTH;
  uint64_t base = device->program_end;
  device->feature_base = base + rounded(bytes);
  device->free_base = device->feature_base + rounded(device->feature_bytes);
  if (!fits(device, device->free_base)) return CGAP_NO_ROOM;
  if (bytes != 0 && board->write_memory(board->context, base, weights, bytes) != 0) return CGAP_MEMORY;
  device->parameter_base = base;
  put_long(device, CGAP_PARAMETER_BASE, base);
  put_long(device, CGAP_FEATURE_BASE, device->feature_base);
  return CGAP_OK;
}

/* Copies a tensor between the host and its region, row by row; rows are padded with zeros to whole words. */
static cgap_result copy(const cgap_device *device, const cgap_tensor *tensor, uint64_t region, int8_t *data, int writes) {
  const cgap_board *board = device->board;
  uint64_t address = region + tensor->offset;
  uint32_t rows = tensor->packed ? 1 : tensor->maps * tensor->rows;
  uint32_t columns = tensor->packed ? tensor->maps : tensor->columns;
  uint32_t stride = columns;
  if (!tensor->packed) stride = (columns + tensor->word_pixels - 1) / tensor->word_pixels * tensor->word_pixels;
  static const int8_t zeros[ROW];
  for (uint32_t row = 0; row < rows; row++, address += stride, data += columns) {
    if (!writes) {
      if (board->read_memory(board->context, address, data, columns) != 0) return CGAP_MEMORY;
      continue;
    }
    if (board->write_memory(board->context, address, data, columns) != 0) return CGAP_MEMORY;
    for (uint32_t at = columns; at < stride; at += ROW) {
      uint32_t some = stride - at < ROW ? stride - at : ROW;
      if (board->write_memory(board->context, address + at, zeros, some) != 0) return CGAP_MEMORY;
    }
  }
  return CGAP_OK;
}

cgap_result cgap_run(cgap_device *device, const cgap_tensor *input, const int8_t *images, uint32_t count,
                     const cgap_tensor *outputs, uint32_t output_count, int8_t *const *results) {
  if (!device->loaded || device->parameter_base == 0) return CGAP_NO_NETWORK;
  uint64_t in_stride = rounded(device->input_bytes), out_stride = rounded(device->output_bytes);
  uint64_t in_base = device->free_base, out_base = in_base + count * in_stride;
  if (!fits(device, out_base + count * out_stride)) return CGAP_NO_ROOM;
  size_t pixels = (size_t)input->maps * input->rows * input->columns;
  for (uint32_t k = 0; k < count; k++) {
    /* The copy only reads what it is told to write. */
    cgap_result result = copy(device, input, in_base + k * in_stride, (int8_t *)images + k * pixels, 1);
    if (result != CGAP_OK) return result;
  }
  put_long(device, CGAP_INPUT_BASE, in_base);
  put_long(device, CGAP_OUTPUT_BASE, out_base);
  put_long(device, CGAP_INPUT_STRIDE, in_stride);
  put_long(device, CGAP_OUTPUT_STRIDE, out_stride);
  put(device, CGAP_IMAGES, count);
  put(device, CGAP_IRQ_ENABLE, CGAP_IRQ_ENABLE_DONE | CGAP_IRQ_ENABLE_ERROR);
  put(device, CGAP_CTRL, CGAP_CTRL_START);
  cgap_result result = until_idle(device);
  if (result != CGAP_OK) return result;
  put(device, CGAP_IRQ_STATUS, CGAP_IRQ_STATUS_DONE);
  for (uint32_t t = 0; t < output_count; t++) {
    pixels = (size_t)outputs[t].maps * outputs[t].rows * outputs[t].columns;
    for (uint32_t k = 0; k < count; k++) {
      result = copy(device, &outputs[t], out_base + k * out_stride, results[t] + k * pixels, 0);
      if (result != CGAP_OK) return result;
    }
  }
  device->cycles = get(device, CGAP_CYCLES) | (uint64_t)get(device, CGAP_CYCLES + 4) << 32;
  return CGAP_OK;
}

const char *cgap_message(const cgap_device *device, cgap_result result) {
  static const char *const errors[] = CGAP_ERRORS;
  static const char *const results[] = {
      "no error",
      "the accelerator stopped",
      "load a program and then its weights before images are run",
      "a file of another network, or one that is cut off",
      "the memory is too small",
      "the memory cannot be read or written",
      "the accelerator does not answer",
  };
  uint32_t code = device->error & CGAP_ERROR_CODE;
  if (result == CGAP_STOPPED && code < sizeof errors / sizeof errors[0]) return errors[code];
  return results[result];
}
