// The drain's walk through a tile that it reads or writes row by row: in every group map by map, in every map row by
// row. At a group's end it goes back to the group's first map and row for the next columns, on to the next rows, or on
// to the next maps.
module tile_walk #(
  parameter int unsigned Poy = 8,
  parameter int unsigned AddressWidth = 9
) (
  input logic clk_i,

  input logic start_i,
  // verilator lint_off UNUSEDSIGNAL
  input command_pkg::walk_t place_i,  // first row of the command's first map
  // verilator lint_on UNUSEDSIGNAL
  input command_pkg::row_step_t row_i,  // on to the next row

  // A row is finished; the flags say what ends with it.
  input logic advance_i,
  input logic map_end_i,  // the map's last row in the group
  input logic group_end_i,  // with it, the group's last map
  input logic column_last_i,  // the group is the last of its rows
  input logic row_last_i,  // and these are the tile's last
  input logic map_step_i,  // the next map lies `map_words` on

  output logic [7:0] bank_o,
  output logic [AddressWidth-1:0] address_o
);

  logic [AddressWidth-1:0] map_q, map_group_q, map_next, map_words;
  logic [7:0] bank_q, bank_group_q, bank_next, rest_q, rest_group_q, rest_next;
  logic [AddressWidth-1:0] row_q, row_group_q, row_next;

  row_walk #(
    .Poy(Poy),
    .AddressWidth(AddressWidth)
  ) u_walk (
    .clk_i,
    .bank_i(bank_q),
    .remainder_i(rest_q),
    .address_i(row_q),
    .interleave_i(place_i.interleave),
    .group_words_i(AddressWidth'(place_i.group_words)),
    .step_bank_i(row_i.bank),
    .step_remainder_i(row_i.remainder),
    .step_address_i(AddressWidth'(row_i.address)),
    .bank_o(bank_next),
    .remainder_o(rest_next),
    .address_o(row_next)
  );

  assign map_words = AddressWidth'(place_i.map_words);
  assign map_next  = map_step_i ? map_q + map_words : map_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      {bank_q, rest_q} <= {place_i.bank, place_i.remainder};
      {bank_group_q, rest_group_q} <= {place_i.bank, place_i.remainder};
      row_q <= '0;
      row_group_q <= '0;
    end else if (advance_i) begin
      if (!map_end_i) begin
        {bank_q, rest_q, row_q} <= {bank_next, rest_next, row_next};
      end else if (!group_end_i | ~column_last_i) begin
        {bank_q, rest_q, row_q} <= {bank_group_q, rest_group_q, row_group_q};
      end else if (!row_last_i) begin
        {bank_q, rest_q, row_q} <= {bank_next, rest_next, row_next};
        {bank_group_q, rest_group_q, row_group_q} <= {bank_next, rest_next, row_next};
      end else begin
        {bank_q, rest_q} <= {place_i.bank, place_i.remainder};
        {bank_group_q, rest_group_q} <= {place_i.bank, place_i.remainder};
        row_q <= '0;
        row_group_q <= '0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      map_q <= AddressWidth'(place_i.address);
      map_group_q <= AddressWidth'(place_i.address);
    end else if (advance_i & map_end_i) begin
      if (group_end_i & ~(column_last_i & row_last_i)) begin
        map_q <= map_group_q;
      end else begin
        map_q <= map_next;
        if (group_end_i) map_group_q <= map_next;
      end
    end
  end

  assign bank_o = bank_q;
  assign address_o = map_q + row_q;

endmodule
