// Addresses of the weight words: one after the other through a group, from the start again for every group of the same
// maps, and on to the next words where a weight word's last maps are done.
module weight_read #(
  parameter int unsigned AddressWidth = 15
) (
  input logic clk_i,

  input logic start_i,
  input logic [AddressWidth-1:0] first_i,  // the command's first word

  input logic wave_i,
  input logic group_end_i,
  input logic group_word_i,  // the next group begins with the word that follows

  output logic en_o,
  output logic [AddressWidth-1:0] addr_o
);

  logic [AddressWidth-1:0] addr_q, base_q, after, base;

  assign after = wave_i ? addr_q + AddressWidth'(1) : addr_q;
  assign base  = group_word_i ? after : base_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      addr_q <= first_i;
      base_q <= first_i;
    end else if (group_end_i) begin
      addr_q <= base;
      base_q <= base;
    end else begin
      addr_q <= after;
    end
  end

  assign en_o   = wave_i;
  assign addr_o = addr_q;

endmodule
