// Test bench of the layers' own tops: each is given its golden input in DRAM, and its output is compared.
#include "bench/bench.h"

#include "tops/tops.h"

int main(int argc, char **argv) {
  const Arguments arguments = parse(argc, argv);
  const Network network(arguments.network);
  Golden golden(arguments.vectors, network);
  const long end = last_image(arguments, golden);
  Dram dram(network, network.layerwise);
  dram.load(arguments.weights);
  Checker check(network, network.layerwise, golden, dram);
  checker = &check;
  probe = arguments.dram_only ? nullptr : look;
  stops = arguments.stop;
  Stopwatch watch;
  bool found = false;
  for (long image = arguments.first; image < end; ++image) {
    golden.select(image);
    check.begin(image);
    for (const LayerTop &layer : TOPS) {
      if (arguments.layer >= 0 && arguments.layer != layer.tensor) {
        continue;
      }
      found = true;
      dram.spoil();
      for (const int tensor : network.tensors[size_t(layer.tensor)].reads) {
        dram.put_tensor(tensor, golden);
      }
      watch.start();
      expect_done(layer.top(dram.data(), dram.data(), dram.base(0), dram.base(1), dram.base(2), dram.base(3)));
      watch.stop();
      if (arguments.dram_only) {
        check.check_dram(layer.tensor);
      } else {
        check.expect_complete(layer.tensor);
      }
    }
  }
  if (!found) {
    give_up("no layer " + std::to_string(arguments.layer));
  }
  check.report(arguments, end - arguments.first, watch.seconds(), "");
  return check.mismatches() == 0 ? 0 : EXIT_DIFFERENT;
}
