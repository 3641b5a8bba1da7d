// A simple dual-port memory with registered address and registered output: a word addressed in cycle k is on r_data_o in
// cycle k+2. Reading and writing one word in the same cycle gives either content; no command does it.
module ram_sdp #(
  parameter int unsigned Width = 128,
  parameter int unsigned Depth = 512,
  // Bits written under one bit of w_mask_i; Width for a memory that only takes whole words.
  parameter int unsigned MaskedBits = 8,
  localparam int unsigned AddressBits = (Depth > 1) ? $clog2(Depth) : 1
) (
  input  logic                        clk_i,
  input  logic                        w_en_i,
  input  logic [AddressBits-1:0]      w_addr_i,
  input  logic [Width/MaskedBits-1:0] w_mask_i,
  input  logic [Width-1:0]            w_data_i,
  input  logic                        r_en_i,
  input  logic [AddressBits-1:0]      r_addr_i,
  output logic [Width-1:0]            r_data_o
);

  // Whatever a block gives where a word is read and written at once is right: synthesis adds nothing to it.
  (* no_rw_check, rw_addr_collision = "no" *) logic [Width-1:0] mem [Depth];
  logic [Width-1:0] word_q;

  always_ff @(posedge clk_i) begin
    if (w_en_i) begin
      for (int unsigned i = 0; i < Width / MaskedBits; i++) begin
        if (w_mask_i[i]) mem[w_addr_i][i*MaskedBits +: MaskedBits] <= w_data_i[i*MaskedBits +: MaskedBits];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (r_en_i) word_q <= mem[r_addr_i];
    r_data_o <= word_q;
  end

`ifndef SYNTHESIS
  a_write_inside: assert property (@(posedge clk_i) w_en_i |-> 32'(w_addr_i) < Depth);
  a_read_inside: assert property (@(posedge clk_i) r_en_i |-> 32'(r_addr_i) < Depth);
`endif

endmodule
