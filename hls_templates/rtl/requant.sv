// From a sum to a stored pixel: one rounding, half to even, then the clamp that is saturation and activation in one
// (docs/numbers.md). Three stages: shift, round, clamp.
module requant #(
  parameter bit Leaky = 1'b1  // 1: negative sums may be shifted further than others
) (
  input logic clk_i,

  input logic signed [31:0] sum_i,
  input logic [4:0] shift_i,
  input logic [5:0] shift_negative_i,  // of negative sums; below 63
  // constants of the command
  input logic signed [7:0] low_i,
  input logic signed [7:0] high_i,

  output logic signed [7:0] pixel_o,  // three cycles later
  output logic saturated_o  // the pixel is the limit of its 8 bits, not of an activation
);

  // ---- shift: the quotient, the bit below it, and whether there is more below ----
  logic [5:0] shift;
  logic signed [32:0] shifted;
  logic [31:0] below;
  logic signed [31:0] quotient_q;
  logic guard_q, sticky_q;

  assign shift = Leaky && sum_i[31] ? shift_negative_i : {1'b0, shift_i};
  assign shifted = $signed({sum_i, 1'b0}) >>> shift[4:0];

  always_comb begin
    for (int unsigned i = 0; i < 32; i++) below[i] = 6'(i + 1) < {1'b0, shift[4:0]};
  end

  always_ff @(posedge clk_i) begin
    // From 32 on the result is 0: a sum is at most half of 2**32 in magnitude, and a half is rounded to even.
    quotient_q <= Leaky && shift[5] ? '0 : shifted[32:1];
    guard_q <= ~(Leaky && shift[5]) & shifted[0];
    sticky_q <= |(sum_i & below);
  end

  // ---- round, on 9 bits that keep which side of the limits a quotient lies on ----
  logic over, up;
  logic signed [8:0] near;
  logic signed [9:0] rounded_q;

  assign over = quotient_q[31:8] != {24{quotient_q[31]}};
  assign near = over ? {quotient_q[31], {8{~quotient_q[31]}}} : quotient_q[8:0];
  assign up = guard_q & (sticky_q | quotient_q[0]) & ~over;

  always_ff @(posedge clk_i) rounded_q <= 10'(near) + $signed({9'b0, up});

  // ---- clamp ----
  always_ff @(posedge clk_i) begin
    if (rounded_q < 10'(low_i)) pixel_o <= low_i;
    else if (rounded_q > 10'(high_i)) pixel_o <= high_i;
    else pixel_o <= rounded_q[7:0];
    saturated_o <= (rounded_q < -10'sd128 & low_i == -8'sd128) | (rounded_q > 10'sd127 & high_i == 8'sd127);
  end

  if (!Leaky) begin : gen_straight
    logic unused_shift;
    assign unused_shift = ^{shift_negative_i, shift[5]};
  end

endmodule
