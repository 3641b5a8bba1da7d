// The two line registers of every row of the array: into one the words of the next step are written, the other feeds
// the waves.
//
// A group's first pixel lies at a fixed place of a half word (`offset_i`, the same for all groups of a command) in one
// of two half words. So words are turned by the offset on the way in, their first pixels falling into the word before,
// and the line is loaded from the first or the second half word on.
//
// Word k+4, in the next line k+5, in the line k+6; a wave of control cycle k takes the line in k+5.
module line_regs #(
  parameter int unsigned Pox = 8,
  parameter int unsigned Poy = 8,
  parameter int unsigned Columns = 8,  // most columns of a kernel
  parameter int unsigned Stride = 2,  // most columns from one window to the next
  localparam int unsigned OffsetWidth = $clog2(Pox)
) (
  input logic clk_i,

  // static in a command
  input logic [OffsetWidth-1:0] offset_i,
  input logic [7:0] stride_i,

  // words of the next line
  input logic [Poy-1:0] write_i,
  input logic [5:0] word_i,
  input logic [Poy-1:0][2*Pox-1:0][7:0] words_i,

  // the line
  input logic load_i,
  input logic half_i,
  input logic shift_i,
  output logic [Poy-1:0][Pox-1:0][7:0] pixels_o
);

  localparam int unsigned WordPixels = 2 * Pox;
  localparam int unsigned Taps = (Pox - 1) * Stride + Columns;
  localparam int unsigned Slots = (Taps + Pox + WordPixels - 1) / WordPixels;

  for (genvar y = 0; y < Poy; y++) begin : gen_row
    logic [WordPixels*8-1:0] turned;
    logic [Slots*WordPixels*8-1:0] line;  // the next line

    lane_rotate #(
      .Pox(Pox)
    ) u_rotate (
      .amount_i(offset_i),
      .pixels_i(words_i[y]),
      .pixels_o(turned)
    );

    for (genvar s = 0; s < Slots; s++) begin : gen_slot
      for (genvar i = 0; i < WordPixels; i++) begin : gen_pixel
        // Lane i of the turned word is its pixel i + offset, or that of the word before if this is beyond its end.
        logic early;
        logic [7:0] pixel_q;
        assign early = i >= Pox && int'(offset_i) + i >= int'(WordPixels);
        always_ff @(posedge clk_i) begin
          if (write_i[y] && word_i == (early ? 6'(s + 1) : 6'(s))) pixel_q <= turned[8*i+:8];
        end
        assign line[8*(s*WordPixels+i)+:8] = pixel_q;
      end
    end

    logic unused_line;  // the last word need not be whole
    assign unused_line = ^line;

    tap_line #(
      .Pox(Pox),
      .Width(8),
      .Columns(Columns),
      .Stride(Stride),
      .Dilation(1)
    ) u_line (
      .clk_i,
      .load_i,
      .half_i,
      .line_i(line[8*(Taps+Pox)-1:0]),
      .shift_i,
      .dilation_i(8'd1),
      .stride_i,
      .pixels_o(pixels_o[y])
    );
  end

endmodule
