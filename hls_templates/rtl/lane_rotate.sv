// Turns the pixels of a word so that pixel `amount_i` comes first. Combinational.
module lane_rotate #(
  parameter int unsigned Pox = 8,  // a word has 2 * Pox pixels
  localparam int unsigned AmountWidth = $clog2(Pox)
) (
  input  logic [AmountWidth-1:0] amount_i,  // below Pox
  input  logic [2*Pox-1:0][7:0] pixels_i,
  output logic [2*Pox-1:0][7:0] pixels_o
);

  logic [AmountWidth:0][2*Pox-1:0][7:0] turned;

  assign turned[0] = pixels_i;
  for (genvar l = 0; l < AmountWidth; l++) begin : gen_level
    for (genvar i = 0; i < 2 * Pox; i++) begin : gen_pixel
      assign turned[l+1][i] = amount_i[l] ? turned[l][(i+(1<<l))%(2*Pox)] : turned[l][i];
    end
  end
  assign pixels_o = turned[AmountWidth];

endmodule
