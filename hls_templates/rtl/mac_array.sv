// The array: Pof x Poy x Pox multiply-accumulate units, each with the sum of one output pixel, and a copy of the sums
// for the drain. Every unit maps to one DSP block with its product and accumulator registers.
//
// Operands in cycle k, product k+1, sum k+2; a hand-over in cycle k+2 copies the sum to `sums_o` in k+3.
module mac_array #(
  parameter int unsigned Pox = 8,
  parameter int unsigned Poy = 8,
  parameter int unsigned Pof = 4
) (
  input logic clk_i,
  input logic rst_ni,

  input logic wave_i,
  input logic first_i,  // the wave begins new sums
  input logic [Poy-1:0][Pox-1:0][7:0] pixels_i,
  input logic [Pof-1:0][7:0] weights_i,

  input logic hand_over_i,
  output logic [Pof-1:0][Poy-1:0][Pox-1:0][31:0] sums_o
);

  logic wave_q, first_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) wave_q <= 1'b0;
    else wave_q <= wave_i;
  end
  always_ff @(posedge clk_i) first_q <= first_i;

  for (genvar p = 0; p < Pof; p++) begin : gen_map
    for (genvar y = 0; y < Poy; y++) begin : gen_row
      for (genvar x = 0; x < Pox; x++) begin : gen_column
        logic signed [15:0] product_q;
        logic signed [31:0] sum_q;

        always_ff @(posedge clk_i) begin
          product_q <= $signed(pixels_i[y][x]) * $signed(weights_i[p]);
          if (wave_q) sum_q <= (first_q ? 32'sd0 : sum_q) + 32'(product_q);
          if (hand_over_i) sums_o[p][y][x] <= sum_q;
        end
      end
    end
  end

endmodule
