// One step of a walk through the rows of a feature tile: from a row's bank, remainder and address to those of the row
// that a row step leads to (docs/instruction-set.md, Walk and RowStep). Combinational; it adds and compares only.
//
// Rows lie `interleave_i` to a bank, then in the next bank. Addresses count modulo 2**AddressWidth: no comparison
// looks at them, so a memory needs no more bits than its depth has.
module row_walk #(
  parameter int unsigned Poy = 8,  // banks of a page
  parameter int unsigned AddressWidth = 9  // bits of an address
) (
  // where the walk is
  input  logic [             7:0] bank_i,
  input  logic [             7:0] remainder_i,  // below interleave_i
  input  logic [AddressWidth-1:0] address_i,
  // of the tile
  input  logic [             7:0] interleave_i,
  input  logic [AddressWidth-1:0] group_words_i,
  // the step
  input  logic [             7:0] step_bank_i,
  input  logic [             7:0] step_remainder_i,
  input  logic [AddressWidth-1:0] step_address_i,
  // where it leads
  output logic [             7:0] bank_o,
  output logic [             7:0] remainder_o,
  output logic [AddressWidth-1:0] address_o
);

  // The remainder carries into the bank, the bank into the group of rows.
  logic [8:0] remainder_sum, remainder_rest, bank_sum, bank_rest;
  logic bank_carry, group_carry;

  assign remainder_sum  = {1'b0, remainder_i} + {1'b0, step_remainder_i};
  assign remainder_rest = remainder_sum - {1'b0, interleave_i};
  assign bank_carry     = remainder_sum >= {1'b0, interleave_i};
  assign remainder_o    = bank_carry ? remainder_rest[7:0] : remainder_sum[7:0];

  assign bank_sum    = {1'b0, bank_i} + {1'b0, step_bank_i} + {8'b0, bank_carry};
  assign bank_rest   = bank_sum - 9'(Poy);
  assign group_carry = bank_sum >= 9'(Poy);
  assign bank_o      = group_carry ? bank_rest[7:0] : bank_sum[7:0];

  // The step's address with each outcome of the carries is ready before they are.
  logic [AddressWidth-1:0] step_back, step_on;

  assign step_back = step_address_i - group_words_i;
  assign step_on   = step_address_i + group_words_i;
  assign address_o = address_i + (bank_carry == group_carry ? step_address_i : bank_carry ? step_back : step_on);

  logic unused_rest;
  assign unused_rest = ^{remainder_rest[8], bank_rest[8]};

endmodule
