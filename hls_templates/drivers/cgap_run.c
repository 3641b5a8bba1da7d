/* Runs networks one after the other on the simulated RTL:
 *
 *   cgap_run REQUESTS REPLIES MEMORY_BYTES FOLDER...
 *
 * A folder has program.bin, weights.bin, tensors.txt and input.bin, images as int8 [image][map][row][column]; output.bin
 * is written into it, all images of the first output, then of the next. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgap_simulated.h"

enum { MOST_OUTPUTS = 64, MOST_PATH = 4096 };

static uint8_t *read_file(const char *folder, const char *name, size_t *bytes) {
  char path[MOST_PATH];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "rb");
  long size = -1;
  if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
    fprintf(stderr, "cannot read %s\n", path);
    exit(2);
  }
  rewind(file);
  uint8_t *data = malloc((size_t)size + 1);
  if (data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size) exit(2);
  fclose(file);
  data[size] = 0;
  *bytes = (size_t)size;
  return data;
}

/* The tensors of tensors.txt: the input, then the outputs. Returns how many. */
static uint32_t read_tensors(char *text, cgap_tensor *tensors) {
  uint32_t count = 0, frac, word_pixels = (uint32_t)strtoul(text, NULL, 10);
  for (char *line = strchr(text, '\n'); line != NULL && count <= MOST_OUTPUTS; line = strchr(line + 1, '\n')) {
    cgap_tensor *t = &tensors[count];
    if (sscanf(line, "%u %u %u %u %u %u", &t->maps, &t->rows, &t->columns, &frac, &t->offset, &t->packed) != 6) break;
    t->word_pixels = word_pixels;
    count++;
  }
  return count;
}

static size_t pixels(const cgap_tensor *tensor) { return (size_t)tensor->maps * tensor->rows * tensor->columns; }

static cgap_result run(cgap_device *device, const char *folder) {
  cgap_tensor tensors[MOST_OUTPUTS + 1];
  int8_t *results[MOST_OUTPUTS];
  size_t program_bytes, weights_bytes, input_bytes, text_bytes;
  uint8_t *program = read_file(folder, "program.bin", &program_bytes);
  uint8_t *weights = read_file(folder, "weights.bin", &weights_bytes);
  uint8_t *input = read_file(folder, "input.bin", &input_bytes);
  uint8_t *text = read_file(folder, "tensors.txt", &text_bytes);
  uint32_t count = read_tensors((char *)text, tensors);
  if (count < 2 || pixels(&tensors[0]) == 0) {
    fprintf(stderr, "%s/tensors.txt names no input and output\n", folder);
    exit(2);
  }
  uint32_t outputs = count - 1;
  uint32_t images = (uint32_t)(input_bytes / pixels(&tensors[0]));
  for (uint32_t k = 0; k < outputs; k++) results[k] = malloc(images * pixels(&tensors[k + 1]));
  cgap_result result = cgap_load_program(device, program, program_bytes);
  if (result == CGAP_OK) result = cgap_load_weights(device, weights, weights_bytes);
  if (result == CGAP_OK) {
    result = cgap_run(device, &tensors[0], (const int8_t *)input, images, &tensors[1], outputs, results);
  }
  if (result == CGAP_OK) {
    char path[MOST_PATH];
    snprintf(path, sizeof path, "%s/output.bin", folder);
    FILE *file = fopen(path, "wb");
    for (uint32_t k = 0; file != NULL && k < outputs; k++) {
      fwrite(results[k], 1, images * pixels(&tensors[k + 1]), file);
    }
    if (file == NULL || fclose(file) != 0) exit(2);
    printf("%s: %u images, %llu cycles each\n", folder, images, (unsigned long long)device->cycles);
  }
  for (uint32_t k = 0; k < outputs; k++) free(results[k]);
  free(program);
  free(weights);
  free(input);
  free(text);
  return result;
}

int main(int count, char **words) {
  cgap_board board;
  cgap_device device;
  if (count < 5) {
    fprintf(stderr, "usage: cgap_run REQUESTS REPLIES MEMORY_BYTES FOLDER...\n");
    return 2;
  }
  if (cgap_simulated_open(&board, words[1], words[2], strtoull(words[3], NULL, 10)) != 0) {
    fprintf(stderr, "cannot open %s and %s\n", words[1], words[2]);
    return 2;
  }
  cgap_result result = cgap_open(&device, &board);
  for (int k = 4; k < count && result == CGAP_OK; k++) result = run(&device, words[k]);
  if (result != CGAP_OK) fprintf(stderr, "error: %s\n", cgap_message(&device, result));
  cgap_simulated_close(&board);
  return result == CGAP_OK ? 0 : 1;
}
