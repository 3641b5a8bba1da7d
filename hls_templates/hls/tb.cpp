// Test bench of the whole network: every stored tensor of every layer, and the outputs in DRAM, against golden values.
#include "bench/bench.h"

#include "accelerator.h"

// program.bin as 64-bit words.
static std::vector<uint64_t> read_program(const std::string &path) {
  const File file(path, sizeof(uint64_t));
  std::vector<uint64_t> words(size_t(file.records()));
  for (size_t i = 0; i < words.size(); ++i) {
    file.read(long(i), &words[i]);
  }
  if (words.size() < size_t(HEADER_WORDS) || uint32_t(words[1]) != words.size() * sizeof(uint64_t)) {
    give_up(path + " is no program, or cut off");
  }
  return words;
}

int main(int argc, char **argv) {
  const Arguments arguments = parse(argc, argv);
  const Network network(arguments.network);
  Golden golden(arguments.vectors, network);
  const long end = last_image(arguments, golden);
  const std::vector<uint64_t> program = read_program(arguments.program);
  Dram dram(network, network.whole);
  dram.load(arguments.weights);
  Checker check(network, network.whole, golden, dram);
  checker = &check;
  probe = arguments.dram_only ? nullptr : look;
  std::ofstream outputs(arguments.outputs, std::ios::binary);
  stops = arguments.stop;
  Stopwatch watch;
  for (long image = arguments.first; image < end; ++image) {
    golden.select(image);
    check.begin(image);
    dram.spoil();
    dram.put_tensor(0, golden);
    watch.start();
    const uint32_t bits = image == arguments.first ? START | LOAD_PROGRAM : START;
    expect_done(accelerator(bits, program.data(), dram.data(), dram.data(), dram.base(0), dram.base(1), dram.base(2),
                            dram.base(3)));
    watch.stop();
    const std::vector<int8_t> made = dram.outputs();
    outputs.write(reinterpret_cast<const char *>(made.data()), std::streamsize(made.size()));
    for (int tensor = 1; tensor < int(network.tensors.size()); ++tensor) {
      if (!arguments.dram_only) {
        check.expect_complete(tensor);
      } else if (dram.place(tensor).region == 2) {
        check.check_dram(tensor);
      }
    }
  }
  outputs.close();
  if (!arguments.outputs.empty() && !outputs) {
    give_up("cannot write " + arguments.outputs);
  }
  std::string cycles;
  if (!arguments.timing.empty()) {
#if defined(SEQUENTIAL) || defined(VITIS_PORTS)
    give_up("units that take turns, and the vendor's ports, have no times to compare");
#else
    cycles = Timing(arguments.timing).report(network);
#endif
  }
  check.report(arguments, end - arguments.first, watch.seconds(), cycles);
  return check.mismatches() == 0 ? 0 : EXIT_DIFFERENT;
}
