// Walks through the words of a feature tile in the order of DRAM: map by map, row by row, word by word.
module word_walk #(
  parameter int unsigned Poy = 8
) (
  input  logic               clk_i,
  // Go to the first word; tile_i must be stable from then on.
  input  logic               start_i,
  input  command_pkg::tile_t tile_i,
  input  logic               next_i,
  output logic [3:0]         page_o,
  output logic [7:0]         bank_o,
  output logic [19:0]        address_o
);

  logic [19:0] address_q;  // of the word
  logic [19:0] row_address_q, stepped_address;  // of its row
  logic [19:0] map_address_q, next_map;  // of its map's first row
  logic [7:0] bank_q, stepped_bank, remainder_q, stepped_remainder;
  logic [11:0] word_q;
  logic [15:0] row_q;
  logic row_end, map_end;

  row_walk #(
    .Poy(Poy),
    .AddressWidth(20)
  ) u_row (
    .clk_i,
    .bank_i(bank_q),
    .remainder_i(remainder_q),
    .address_i(row_address_q),
    .interleave_i(tile_i.place.interleave),
    .group_words_i(tile_i.place.group_words),
    .step_bank_i(tile_i.row.bank),
    .step_remainder_i(tile_i.row.remainder),
    .step_address_i(tile_i.row.address),
    .bank_o(stepped_bank),
    .remainder_o(stepped_remainder),
    .address_o(stepped_address)
  );

  assign row_end = word_q == tile_i.row_words - 12'd1;
  assign map_end = row_q == tile_i.rows - 16'd1;
  assign next_map = map_address_q + tile_i.place.map_words;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      address_q <= tile_i.place.address;
      row_address_q <= tile_i.place.address;
      map_address_q <= tile_i.place.address;
      bank_q <= tile_i.place.bank;
      remainder_q <= tile_i.place.remainder;
      word_q <= '0;
      row_q <= '0;
    end else if (next_i) begin
      if (!row_end) begin
        address_q <= address_q + 20'd1;
        word_q <= word_q + 12'd1;
      end else begin
        word_q <= '0;
        if (!map_end) begin
          row_q <= row_q + 16'd1;
          address_q <= stepped_address;
          row_address_q <= stepped_address;
          bank_q <= stepped_bank;
          remainder_q <= stepped_remainder;
        end else begin
          row_q <= '0;
          address_q <= next_map;
          row_address_q <= next_map;
          map_address_q <= next_map;
          bank_q <= tile_i.place.bank;
          remainder_q <= tile_i.place.remainder;
        end
      end
    end
  end

  assign page_o = tile_i.place.page;
  assign bank_o = bank_q;
  assign address_o = address_q;

endmodule
