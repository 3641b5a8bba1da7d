// The simulation's end of two pipes through which a host drives the accelerator (harness.sv says what each request does).
//
// A request is three 64-bit words, lowest byte first: operation, address, value; where it carries bytes, value is their
// number and they follow. Every request is answered by one word, which bytes follow where the host reads the memory.
#include <stdio.h>

#include <string>

namespace {

FILE* requests = nullptr;
FILE* replies = nullptr;
std::string text;

bool read_word(unsigned long long& word) {
  unsigned char bytes[8];
  if (fread(bytes, 1, sizeof bytes, requests) != sizeof bytes) return false;
  word = 0;
  for (int i = 7; i >= 0; i--) word = word << 8 | bytes[i];
  return true;
}

}  // namespace

extern "C" {

// Opens both pipes, the replies first. Returns 0, or -1 if one cannot be opened.
int bridge_open(const char* request_path, const char* reply_path) {
  replies = fopen(reply_path, "wb");
  requests = replies ? fopen(request_path, "rb") : nullptr;
  return requests ? 0 : -1;
}

// Waits for the next request. Returns 0 when the host has gone.
int bridge_next(unsigned long long* operation, unsigned long long* address, unsigned long long* value) {
  fflush(replies);
  return read_word(*operation) && read_word(*address) && read_word(*value);
}

void bridge_answer(unsigned long long value) {
  for (int i = 0; i < 8; i++) putc_unlocked(static_cast<int>(value >> 8 * i & 0xff), replies);
}

// One byte that follows a request, or an answer.
int bridge_take() { return getc_unlocked(requests); }
void bridge_give(int value) { putc_unlocked(value & 0xff, replies); }

// The bytes that follow a request, as text.
const char* bridge_text(unsigned long long length) {
  text.clear();
  for (unsigned long long i = 0; i < length; i++) text += static_cast<char>(getc_unlocked(requests));
  return text.c_str();
}

}
