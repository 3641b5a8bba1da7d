// One step of a walk through the rows of a feature tile: from a row's bank, remainder and address to those of the row
// that a row step leads to (docs/instruction-set.md, Walk and RowStep). It adds and compares only.
//
// Rows lie `interleave_i` to a bank, then in the next bank. Addresses count modulo 2**AddressWidth: no comparison
// looks at them, so a memory needs no more bits than its depth has.
//
// Walks are on the longest paths of every unit, so no sum here waits for another: what follows from the tile and the
// step alone is in registers, and each sum is made for every outcome of the carries, which then choose. Tile and step
// must therefore be stable from the cycle before the first step on.
module row_walk #(
  parameter int unsigned Poy = 8,  // banks of a page
  parameter int unsigned AddressWidth = 9  // bits of an address
) (
  input logic clk_i,
  // where the walk is
  input  logic [             7:0] bank_i,  // below Poy
  input  logic [             7:0] remainder_i,  // below interleave_i
  input  logic [AddressWidth-1:0] address_i,
  // of the tile
  input  logic [             7:0] interleave_i,
  input  logic [AddressWidth-1:0] group_words_i,
  // the step
  input  logic [             7:0] step_bank_i,  // below Poy
  input  logic [             7:0] step_remainder_i,  // below interleave_i
  input  logic [AddressWidth-1:0] step_address_i,
  // where it leads
  output logic [             7:0] bank_o,
  output logic [             7:0] remainder_o,
  output logic [AddressWidth-1:0] address_o
);

  localparam int unsigned BankWidth = Poy > 1 ? $clog2(Poy) : 1;

  // ---- what every step has in common ----
  logic [7:0] remainder_on_q, remainder_room_q;  // added to the remainder; the least remainder that carries
  logic [BankWidth:0] bank_on_q, bank_on_up_q;
  logic [AddressWidth-1:0] address_on_q, address_back_q, address_far_q;

  always_ff @(posedge clk_i) begin
    remainder_on_q <= step_remainder_i;
    remainder_room_q <= interleave_i - step_remainder_i;
    bank_on_q <= {1'b0, BankWidth'(step_bank_i)};
    bank_on_up_q <= {1'b0, BankWidth'(step_bank_i)} + (BankWidth + 1)'(1);
    address_on_q <= step_address_i;
    address_back_q <= step_address_i - group_words_i;
    address_far_q <= step_address_i + group_words_i;
  end

  // ---- the remainder carries into the bank, the bank into the group of rows ----
  logic bank_carry, group_carry, group_carry_even, group_carry_up;
  logic [BankWidth:0] bank_even, bank_up;  // without and with the remainder's carry

  assign bank_carry = remainder_i >= remainder_room_q;
  assign remainder_o = bank_carry ? remainder_i - remainder_room_q : remainder_i + remainder_on_q;

  assign bank_even = {1'b0, BankWidth'(bank_i)} + bank_on_q;
  assign bank_up = {1'b0, BankWidth'(bank_i)} + bank_on_up_q;
  assign group_carry_even = bank_even >= (BankWidth + 1)'(Poy);
  assign group_carry_up = bank_up >= (BankWidth + 1)'(Poy);
  assign group_carry = bank_carry ? group_carry_up : group_carry_even;

  function automatic logic [7:0] wrapped(logic [BankWidth:0] bank, logic carry);
    return 8'(BankWidth'(carry ? bank - (BankWidth + 1)'(Poy) : bank));
  endfunction

  assign bank_o = bank_carry ? wrapped(bank_up, group_carry_up) : wrapped(bank_even, group_carry_even);

  // ---- the address ----
  logic [AddressWidth-1:0] on, back, far;

  assign on = address_i + address_on_q;
  assign back = address_i + address_back_q;
  assign far = address_i + address_far_q;
  assign address_o = bank_carry == group_carry ? on : bank_carry ? back : far;

  logic unused_high;
  assign unused_high = ^{bank_i >> BankWidth, step_bank_i >> BankWidth};

endmodule
