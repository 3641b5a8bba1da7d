// Runs `requant` and `row_walk` on vectors from files, one a cycle: +vectors=FOLDER +requants=N +walks=N.
//
// requant.hex: {high, low, shift of negative sums, shift, sum} of 8, 8, 8, 8 and 32 bits; results {saturated, pixel}.
// walk.hex: {Poy, bank, remainder, address, interleave, group_words, step's bank, remainder, address}, bytes but for
// 24-bit addresses and words; results {bank, remainder, address}.
module units_bench #(
  parameter int unsigned Most = 1 << 20  // vectors
) ();

  localparam int unsigned AddressWidth = 20;
  localparam int unsigned Latency = 3;

  logic clk = 1'b0;
  logic [63:0] requants[Most];
  logic [15:0] requant_results[Most];
  logic [119:0] walks[Most];
  logic [39:0] walk_results[Most];

  // ---- requant ----
  logic [63:0] vector;
  logic signed [7:0] pixel, pixel_straight, low_q[Latency], high_q[Latency];
  logic saturated, saturated_straight;
  logic [Latency-1:0] leaks_q;

  // Limits are constants of a command: here they follow their vector down the pipeline.
  always_ff @(posedge clk) begin
    low_q[0]  <= vector[55:48];
    high_q[0] <= vector[63:56];
    for (int unsigned i = 1; i < Latency; i++) begin
      low_q[i]  <= low_q[i-1];
      high_q[i] <= high_q[i-1];
    end
    leaks_q <= {leaks_q[Latency-2:0], vector[45:40] != vector[37:32]};
  end

  requant #(
    .Leaky(1'b1)
  ) u_requant (
    .clk_i(clk),
    .sum_i(vector[31:0]),
    .shift_i(vector[36:32]),
    .shift_negative_i(vector[45:40]),
    .low_i(low_q[1]),
    .high_i(high_q[1]),
    .pixel_o(pixel),
    .saturated_o(saturated)
  );

  requant #(
    .Leaky(1'b0)
  ) u_requant_straight (
    .clk_i(clk),
    .sum_i(vector[31:0]),
    .shift_i(vector[36:32]),
    .shift_negative_i(vector[45:40]),
    .low_i(low_q[1]),
    .high_i(high_q[1]),
    .pixel_o(pixel_straight),
    .saturated_o(saturated_straight)
  );

  // ---- row_walk ----
  localparam int unsigned Sizes = 5;
  localparam int unsigned Poys[Sizes] = '{1, 3, 7, 8, 16};
  logic [119:0] step;
  logic [39:0] walked[Sizes];

  for (genvar i = 0; i < Sizes; i++) begin : gen_walk
    logic [7:0] bank, remainder;
    logic [AddressWidth-1:0] address;

    row_walk #(
      .Poy(Poys[i]),
      .AddressWidth(AddressWidth)
    ) u_walk (
      .clk_i(clk),
      .bank_i(step[111:104]),
      .remainder_i(step[103:96]),
      .address_i(step[72+:AddressWidth]),
      .interleave_i(step[71:64]),
      .group_words_i(step[40+:AddressWidth]),
      .step_bank_i(step[39:32]),
      .step_remainder_i(step[31:24]),
      .step_address_i(step[0+:AddressWidth]),
      .bank_o(bank),
      .remainder_o(remainder),
      .address_o(address)
    );

    assign walked[i] = {bank, remainder, 4'b0, address};
  end

  string folder;
  int unsigned requant_count, walk_count;

  initial begin
    if (!$value$plusargs("vectors=%s", folder) || !$value$plusargs("requants=%d", requant_count) ||
        !$value$plusargs("walks=%d", walk_count)) begin
      $fatal(1, "+vectors, +requants and +walks");
    end
    $readmemh({folder, "/requant.hex"}, requants);
    $readmemh({folder, "/walk.hex"}, walks);
    for (int unsigned i = 0; i < requant_count + Latency; i++) begin
      vector = requants[i%Most];
      #1 clk = 1'b1;
      #1 clk = 1'b0;
      if (i >= Latency - 1) begin
        requant_results[i-(Latency-1)] = {7'b0, saturated, pixel};
        if (!leaks_q[Latency-1] && {saturated, pixel} != {saturated_straight, pixel_straight}) begin
          $fatal(1, "vector %0d: without a leak the two kinds of requant differ", i - (Latency - 1));
        end
      end
    end
    for (int unsigned i = 0; i < walk_count; i++) begin
      step = walks[i];
      #1 clk = 1'b1;
      #1 clk = 1'b0;
      for (int unsigned k = 0; k < Sizes; k++) begin
        if (step[119:112] == 8'(Poys[k])) walk_results[i] = walked[k];
      end
    end
    $writememh({folder, "/requant.out.hex"}, requant_results, 0, requant_count - 1);
    $writememh({folder, "/walk.out.hex"}, walk_results, 0, walk_count - 1);
    $finish;
  end

endmodule
