// Reads from copy B the pixels of a shortcut that are added to a row of outputs: column stride s, so pixel x of a group
// lies x * s pixels from the group's first, which begins a half word. A row takes `words` reads, one a slot; pixels are
// gathered as they come.
//
// Slot c: address c+5, word c+7, pixels of the row's last read c+8.
module shortcut_read #(
  parameter int unsigned Pox = 8,
  parameter int unsigned Poy = 8,
  parameter int unsigned AddressWidth = 9,
  parameter int unsigned Stride = 2,  // most columns from one pixel to the next
  localparam int unsigned WordPixels = 2 * Pox
) (
  input logic clk_i,
  input logic rst_ni,

  input logic start_i,
  // verilator lint_off UNUSEDSIGNAL
  input command_pkg::shortcut_t shortcut_i,
  // verilator lint_on UNUSEDSIGNAL

  // the drain's slots
  input logic slot_i,
  input logic [3:0] read_i,  // which of the row's reads
  input logic row_end_i,  // the row's last read
  input logic map_end_i,
  input logic group_end_i,
  input logic column_last_i,
  input logic row_last_i,

  // copy B
  output logic b_en_o,
  output logic [7:0] b_bank_o,
  output logic [AddressWidth-1:0] b_addr_o,
  input logic [WordPixels-1:0][7:0] b_data_i,

  output logic [Pox-1:0][7:0] pixels_o,
  output logic present_o  // the map gets a shortcut; with the pixels
);

  logic advance;
  assign advance = slot_i & row_end_i;

  // ---- maps that get one: `skip` maps, then `left` maps ----
  logic [15:0] skip_q, skip_group_q, skip_next, left_q, left_group_q, left_next;
  logic present;

  assign present   = skip_q == '0 & left_q != '0;
  assign skip_next = skip_q != '0 ? skip_q - 16'd1 : skip_q;
  assign left_next = present ? left_q - 16'd1 : left_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      {skip_q, skip_group_q} <= {2{shortcut_i.first}};
      {left_q, left_group_q} <= {2{shortcut_i.present ? shortcut_i.maps : 16'd0}};
    end else if (advance & map_end_i) begin
      if (group_end_i & ~(column_last_i & row_last_i)) begin
        skip_q <= skip_group_q;
        left_q <= left_group_q;
      end else begin
        skip_q <= skip_next;
        left_q <= left_next;
        if (group_end_i) begin
          skip_group_q <= skip_next;
          left_group_q <= left_next;
        end
      end
    end
  end

  // ---- columns, in half words ----
  logic [13:0] half_q;

  always_ff @(posedge clk_i) begin
    if (start_i) half_q <= '0;
    else if (advance & map_end_i & group_end_i) half_q <= column_last_i ? '0 : half_q + 14'(shortcut_i.stride);
  end

  // ---- slot c: row and map; c+1: place; c+2: word ----
  logic [7:0] bank, bank_q;
  logic [AddressWidth-1:0] address, address_q;
  logic [12:0] column_q;
  logic half_bit_q, read_q, present_q;
  logic [3:0] which_q;

  tile_walk #(
    .Poy(Poy),
    .AddressWidth(AddressWidth)
  ) u_walk (
    .clk_i,
    .start_i,
    .place_i(shortcut_i.place),
    .row_i(shortcut_i.row),
    .advance_i(advance),
    .map_end_i,
    .group_end_i,
    .column_last_i,
    .row_last_i,
    .map_step_i(present),
    .bank_o(bank),
    .address_o(address)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) read_q <= 1'b0;
    else read_q <= slot_i & present;
  end

  always_ff @(posedge clk_i) begin
    bank_q <= bank;
    address_q <= address;
    column_q <= half_q[13:1] + 13'(read_i);
    half_bit_q <= half_q[0];
    which_q <= read_i;
    present_q <= present;
  end

  logic [AddressWidth-1:0] address_word;
  assign address_word = address_q + AddressWidth'(column_q);

  // Words beyond the row hold no pixel of an output that exists.
  delay_line #(
    .Width(1),
    .Cycles(4),
    .Clear(1'b1)
  ) u_delay_en (
    .clk_i,
    .rst_ni,
    .data_i(read_q & column_q < 13'(shortcut_i.row_words)),
    .data_o(b_en_o)
  );
  delay_line #(
    .Width(8 + AddressWidth),
    .Cycles(4)
  ) u_delay_address (
    .clk_i,
    .rst_ni,
    .data_i({bank_q, address_word}),
    .data_o({b_bank_o, b_addr_o})
  );

  // ---- c+7: the word's pixels ----
  logic half_bit_word;
  logic [3:0] which_word;
  logic slot_word;

  delay_line #(
    .Width(5),
    .Cycles(6)
  ) u_delay_word (
    .clk_i,
    .rst_ni,
    .data_i({half_bit_q, which_q}),
    .data_o({half_bit_word, which_word})
  );
  delay_line #(
    .Width(1),
    .Cycles(6),
    .Clear(1'b1)
  ) u_delay_slot (
    .clk_i,
    .rst_ni,
    .data_i(read_q),
    .data_o(slot_word)
  );
  delay_line #(
    .Width(1),
    .Cycles(7)
  ) u_delay_present (
    .clk_i,
    .rst_ni,
    .data_i(present_q),
    .data_o(present_o)
  );

  logic [Pox-1:0][7:0] pixels_q;

  for (genvar x = 0; x < Pox; x++) begin : gen_column
    logic take;
    logic [7:0] pixel;

    always_comb begin
      // A single column has pixel 0 alone, whatever its stride.
      take  = which_word == 4'd0;
      pixel = b_data_i[x];
      for (int unsigned s = 1; s <= Stride; s++) begin
        for (int unsigned h = 0; h < 2; h++) begin
          // With an even stride every group begins a word.
          if ((h == 0 || s % 2 == 1) && shortcut_i.stride == 8'(s) && half_bit_word == 1'(h)) begin
            take  = which_word == 4'((h * Pox + x * s) / WordPixels);
            pixel = b_data_i[(h*Pox+x*s)%WordPixels];
          end
        end
      end
    end

    always_ff @(posedge clk_i) begin
      if (slot_word & take) pixels_q[x] <= pixel;
    end
  end

  assign pixels_o = pixels_q;

endmodule
