// The pixels of a line under a row of windows. Loaded from a line of whole words, it moves on by `dilation_i` pixels a
// shift, so that the windows' columns come one after the other; output x is the pixel x * `stride_i` from the start.
module tap_line #(
  parameter int unsigned Pox = 8,  // windows
  parameter int unsigned Width = 8,  // bits of a pixel
  parameter int unsigned Columns = 8,  // most columns that a window spans
  parameter int unsigned Stride = 2,  // most columns from one window to the next
  parameter int unsigned Dilation = 1,  // most columns of a shift
  localparam int unsigned Taps = (Pox - 1) * Stride + Columns
) (
  input logic clk_i,

  input logic load_i,
  input logic half_i,  // the line begins Pox pixels later
  input logic [Taps+Pox-1:0][Width-1:0] line_i,
  input logic shift_i,
  input logic [7:0] dilation_i,
  input logic [7:0] stride_i,
  output logic [Pox-1:0][Width-1:0] pixels_o
);

  logic [Taps-1:0][Width-1:0] taps_q, shifted;

  always_comb begin
    for (int unsigned i = 0; i < Taps; i++) begin
      shifted[i] = i + 1 < Taps ? taps_q[(i+1)%Taps] : '0;
      for (int unsigned d = 2; d <= Dilation; d++) begin
        if (dilation_i == 8'(d)) shifted[i] = i + d < Taps ? taps_q[(i+d)%Taps] : '0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    for (int unsigned i = 0; i < Taps; i++) begin
      if (load_i) taps_q[i] <= half_i ? line_i[i+Pox] : line_i[i];
      else if (shift_i) taps_q[i] <= shifted[i];
    end
  end

  always_comb begin
    for (int unsigned x = 0; x < Pox; x++) begin
      pixels_o[x] = taps_q[x];
      for (int unsigned s = 2; s <= Stride; s++) begin
        if (stride_i == 8'(s)) pixels_o[x] = taps_q[x*s];
      end
    end
  end

  if (Dilation == 1) begin : gen_dense
    logic unused_dilation;
    assign unused_dilation = ^dilation_i;
  end
  if (Stride == 1) begin : gen_adjacent
    logic unused_stride;
    assign unused_stride = ^stride_i;
  end

endmodule
