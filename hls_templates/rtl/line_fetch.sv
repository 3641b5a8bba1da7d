// Line fetch: reads the words of a step's rows from copy A and turns them from bank order to row order.
//
// The rows of a group lie in consecutive banks from the walk's bank on, so one address serves the banks from there to
// the last and one, a group of rows further, those that follow from bank 0 on. Where rows are read one by one
// (`row_by_row`), the walk moves from row to row and only the row's own bank is read.
//
// Control in cycle k: address k+1, word k+3, rotated and masked k+4.
module line_fetch #(
  parameter int unsigned Pox = 8,
  parameter int unsigned Poy = 8,
  parameter int unsigned AddressWidth = 9,
  parameter bit RowByRow = 1'b1,  // 1: rows may be read one by one
  localparam int unsigned WordWidth = 2 * Pox * 8
) (
  input logic clk_i,
  input logic rst_ni,

  input logic start_i,
  // verilator lint_off UNUSEDSIGNAL
  input command_pkg::convolve_t command_i,
  // verilator lint_on UNUSEDSIGNAL

  // control (conv_ctrl)
  input logic fetch_i,
  input logic advance_i,
  input logic ky_first_i,
  input logic ky_last_i,
  input logic if_last_i,
  input logic column_last_i,
  input logic row_last_i,
  input logic moves_i,
  input logic [Poy-1:0] live_rows_i,

  // copy A
  output logic [Poy-1:0] a_en_o,
  output logic [Poy-1:0][AddressWidth-1:0] a_addr_o,
  input logic [Poy-1:0][WordWidth-1:0] a_data_i,

  // to the line registers
  output logic half_o,  // the line's first pixel lies in the second half of its first word; at the control's cycle
  output logic [Poy-1:0] write_o,  // rows of `words_o`
  output logic [5:0] word_o,  // which word of the line
  output logic [Poy-1:0][WordWidth-1:0] words_o
);

  localparam int unsigned RowBits = 18;
  localparam int unsigned OffsetWidth = $clog2(Pox);  // a pixel's place in a half word
  localparam int unsigned PassWidth = Poy > 1 ? $clog2(Poy) : 1;

  // ---- which loops move ----
  logic if_on, column_on, row_on, array_on;

  assign if_on     = advance_i & ky_last_i;
  assign column_on = if_on & if_last_i;
  assign row_on    = column_on & column_last_i;
  assign array_on  = row_on & row_last_i;

  // ---- maps ----
  logic [AddressWidth-1:0] map_q, map_group_q, map_words, map_next;

  assign map_words = AddressWidth'(command_i.source.map_words);
  assign map_next  = map_q + map_words;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      map_q <= AddressWidth'(command_i.source.address);
      map_group_q <= AddressWidth'(command_i.source.address);
    end else if (if_on) begin
      if (!if_last_i) begin
        map_q <= map_next;
      end else if (array_on & moves_i) begin
        map_q <= map_next;
        map_group_q <= map_next;
      end else begin
        map_q <= map_group_q;
      end
    end
  end

  // ---- columns, in half words ----
  logic signed [13:0] half_q, half_first, half_next;
  logic signed [12:0] column_q, column_next;  // the word's place in the row
  logic [5:0] word_q;  // and in the line
  logic word_last_q;

  assign half_first = {command_i.columns.word[11], command_i.columns.word, 1'b0} +
      14'(command_i.columns.offset[OffsetWidth]);
  assign half_next = row_on ? half_first : column_on ? half_q + 14'(command_i.columns.stride) : half_q;
  assign column_next = 13'(half_next >>> 1);
  assign half_o = half_q[0];

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      half_q <= half_first;
      column_q <= 13'(half_first >>> 1);
    end else if (advance_i) begin
      half_q <= half_next;
      column_q <= column_next;
    end else if (fetch_i) begin
      column_q <= word_last_q ? 13'(half_q >>> 1) : column_q + 13'sd1;
    end

    if (start_i | advance_i | (fetch_i & word_last_q)) begin
      word_q <= '0;
      word_last_q <= command_i.columns.words == 6'd1;
    end else if (fetch_i) begin
      word_q <= word_q + 6'd1;
      word_last_q <= word_q + 6'd2 == command_i.columns.words;
    end
  end

  // ---- rows ----
  // Offsets of rows from the map's first; `group` is a group's first row, `line` the kernel row's, `pass` the row that
  // is read now.
  logic [7:0] bank_group_q, rest_group_q, bank_line_q, rest_line_q, bank_on, rest_on;
  logic [7:0] bank_pass, rest_pass, bank_after, rest_after;
  logic [AddressWidth-1:0] row_group_q, row_line_q, row_on_addr, row_pass, row_after;
  logic [AddressWidth-1:0] group_words;
  logic [PassWidth-1:0] pass_q;

  assign group_words = AddressWidth'(command_i.source.group_words);

  row_walk #(
    .Poy(Poy),
    .AddressWidth(AddressWidth)
  ) u_walk_line (
    .clk_i,
    .bank_i(bank_line_q),
    .remainder_i(rest_line_q),
    .address_i(row_line_q),
    .interleave_i(command_i.source.interleave),
    .group_words_i(group_words),
    .step_bank_i(command_i.source_row.bank),
    .step_remainder_i(command_i.source_row.remainder),
    .step_address_i(AddressWidth'(command_i.source_row.address)),
    .bank_o(bank_on),
    .remainder_o(rest_on),
    .address_o(row_on_addr)
  );

  logic [7:0] bank_line, rest_line;
  logic [AddressWidth-1:0] row_line;

  always_comb begin
    if (array_on) begin
      {bank_line, rest_line, row_line} = {command_i.source.bank, command_i.source.remainder, {AddressWidth{1'b0}}};
    end else if (row_on) begin
      {bank_line, rest_line, row_line} = {bank_after, rest_after, row_after};
    end else if (if_on) begin
      {bank_line, rest_line, row_line} = {bank_group_q, rest_group_q, row_group_q};
    end else begin
      {bank_line, rest_line, row_line} = {bank_on, rest_on, row_on_addr};
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      {bank_group_q, rest_group_q} <= {command_i.source.bank, command_i.source.remainder};
      {bank_line_q, rest_line_q} <= {command_i.source.bank, command_i.source.remainder};
      row_group_q <= '0;
      row_line_q <= '0;
    end else begin
      if (row_on) {bank_group_q, rest_group_q, row_group_q} <= {bank_line, rest_line, row_line};
      if (advance_i) {bank_line_q, rest_line_q, row_line_q} <= {bank_line, rest_line, row_line};
    end
  end

  if (RowByRow) begin : gen_passes
    logic [7:0] bank_pass_q, rest_pass_q, bank_step, rest_step, bank_after_q, rest_after_q;
    logic [AddressWidth-1:0] row_pass_q, row_step, row_after_q;
    logic capture;

    row_walk #(
      .Poy(Poy),
      .AddressWidth(AddressWidth)
    ) u_walk_pass (
      .clk_i,
      .bank_i(bank_pass_q),
      .remainder_i(rest_pass_q),
      .address_i(row_pass_q),
      .interleave_i(command_i.source.interleave),
      .group_words_i(group_words),
      .step_bank_i(command_i.source_stride.bank),
      .step_remainder_i(command_i.source_stride.remainder),
      .step_address_i(AddressWidth'(command_i.source_stride.address)),
      .bank_o(bank_step),
      .remainder_o(rest_step),
      .address_o(row_step)
    );

    always_ff @(posedge clk_i) begin
      if (start_i) begin
        {bank_pass_q, rest_pass_q} <= {command_i.source.bank, command_i.source.remainder};
        row_pass_q <= '0;
        pass_q <= '0;
      end else if (advance_i) begin
        {bank_pass_q, rest_pass_q, row_pass_q} <= {bank_line, rest_line, row_line};
        pass_q <= '0;
      end else if (command_i.row_by_row & fetch_i & word_last_q) begin
        {bank_pass_q, rest_pass_q, row_pass_q} <= {bank_step, rest_step, row_step};
        pass_q <= pass_q + PassWidth'(1);
      end
    end

    // The row after a group's last is the first of the next group.
    assign capture = fetch_i & word_last_q & ky_first_i & pass_q == PassWidth'(Poy - 1);

    always_ff @(posedge clk_i) begin
      if (capture) {bank_after_q, rest_after_q, row_after_q} <= {bank_step, rest_step, row_step};
    end

    always_comb begin
      if (!command_i.row_by_row) begin
        {bank_after, rest_after, row_after} = {bank_group_q, rest_group_q, row_group_q + group_words};
      end else if (capture) begin
        {bank_after, rest_after, row_after} = {bank_step, rest_step, row_step};
      end else begin
        {bank_after, rest_after, row_after} = {bank_after_q, rest_after_q, row_after_q};
      end
    end

    assign {bank_pass, rest_pass, row_pass} = {bank_pass_q, rest_pass_q, row_pass_q};
  end else begin : gen_at_once
    assign pass_q = '0;
    assign {bank_pass, rest_pass, row_pass} = {bank_line_q, rest_line_q, row_line_q};
    assign {bank_after, rest_after, row_after} = {bank_group_q, rest_group_q, row_group_q + group_words};

    logic unused_first;
    assign unused_first = ky_first_i;
  end

  // ---- rows inside the tensor ----
  // `below` is a row's distance from the tensor's end: negative inside.
  logic signed [RowBits-1:0] top_q, below_q, top_group_q, below_group_q, top, below, height;
  logic signed [RowBits-1:0] group_rows_q, below_first;
  logic [Poy-1:0][RowBits-1:0] offset_q;  // of the array's rows, in rows of the tensor
  logic [Poy-1:0] inside_rows;

  // A product with a constant as a sum of shifts: no multiplier is spent on it.
  function automatic logic [RowBits-1:0] times(int unsigned factor, logic [7:0] value);
    logic [RowBits-1:0] sum;
    sum = '0;
    for (int unsigned i = 0; i < 8; i++) if (factor[i]) sum = sum + (RowBits'(value) << i);
    return sum;
  endfunction

  assign height = RowBits'(command_i.rows.height);
  assign below_first = command_i.rows.top - height;

  always_comb begin
    if (array_on) begin
      top   = command_i.rows.top;
      below = below_first;
    end else if (row_on) begin
      top   = top_group_q + group_rows_q;
      below = below_group_q + group_rows_q;
    end else if (if_on) begin
      top   = top_group_q;
      below = below_group_q;
    end else begin
      top   = top_q + RowBits'(1);
      below = below_q + RowBits'(1);
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      {top_q, top_group_q} <= {2{command_i.rows.top}};
      {below_q, below_group_q} <= {2{below_first}};
      group_rows_q <= times(Poy, command_i.rows.stride);
      for (int unsigned y = 0; y < Poy; y++) offset_q[y] <= times(y, command_i.rows.stride);
    end else begin
      if (advance_i) {top_q, below_q} <= {top, below};
      if (row_on) {top_group_q, below_group_q} <= {top, below};
    end
  end

  for (genvar y = 0; y < Poy; y++) begin : gen_inside
    logic [RowBits-1:0] row, rest;
    assign row = top_q + offset_q[y];
    assign rest = below_q + offset_q[y];
    assign inside_rows[y] = ~row[RowBits-1] & rest[RowBits-1] & live_rows_i[y];

    logic unused_row;
    assign unused_row = ^{row[RowBits-2:0], rest[RowBits-2:0]};
  end

  // ---- k+1: addresses ----
  logic [AddressWidth-1:0] base, low_q, high_q;
  logic [7:0] bank_q, rotation, rotation_q;
  logic [8:0] rotation_back;
  logic [Poy-1:0] turn, mask_q, write_q;
  logic fetch_q, inside_column;

  assign base = map_q + row_pass;
  assign rotation_back = {1'b0, bank_pass} - 9'(pass_q);
  assign inside_column = ~column_q[12] & column_q < $signed({1'b0, command_i.columns.row_words});

  always_comb begin
    if (RowByRow && command_i.row_by_row) begin
      turn = '0;
      turn[pass_q] = 1'b1;
      // so that row `pass` finds its bank
      rotation = rotation_back[8] ? rotation_back[7:0] + 8'(Poy) : rotation_back[7:0];
    end else begin
      turn = '1;
      rotation = bank_pass;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) fetch_q <= 1'b0;
    else fetch_q <= fetch_i;
  end

  always_ff @(posedge clk_i) begin
    low_q <= base + AddressWidth'(column_q);
    high_q <= base + AddressWidth'(column_q) + (RowByRow && command_i.row_by_row ? '0 : group_words);
    bank_q <= bank_pass;
    rotation_q <= rotation;
    write_q <= turn;
    mask_q <= turn & inside_rows & {Poy{inside_column}};
  end

  // From rows to banks: bank b holds row (b - rotation) mod Poy.
  for (genvar b = 0; b < Poy; b++) begin : gen_bank
    logic [Poy-1:0] hit;
    for (genvar y = 0; y < Poy; y++) begin : gen_row
      assign hit[y] = mask_q[y] & rotation_q == 8'((b + Poy - y) % Poy);
    end
    assign a_en_o[b]   = fetch_q & (|hit);
    assign a_addr_o[b] = 8'(b) < bank_q ? high_q : low_q;
  end

  // ---- k+3: words, rotated and masked ----
  logic [7:0] rotation_word;
  logic [Poy-1:0] mask_word, write_word;
  logic [5:0] word_word;
  logic fetch_word;

  delay_line #(
    .Width(8 + 2 * Poy),
    .Cycles(2)
  ) u_delay_address (
    .clk_i,
    .rst_ni,
    .data_i({rotation_q, mask_q, write_q}),
    .data_o({rotation_word, mask_word, write_word})
  );
  delay_line #(
    .Width(6),
    .Cycles(3)
  ) u_delay_word (
    .clk_i,
    .rst_ni,
    .data_i(word_q),
    .data_o(word_word)
  );
  delay_line #(
    .Width(1),
    .Cycles(2),
    .Clear(1'b1)
  ) u_delay_fetch (
    .clk_i,
    .rst_ni,
    .data_i(fetch_q),
    .data_o(fetch_word)
  );

  // A barrel of rotations by 1, 2, 4 ... banks, each modulo Poy.
  localparam int unsigned Levels = $clog2(Poy);
  logic [Levels:0][Poy-1:0][WordWidth-1:0] turned;

  assign turned[0] = a_data_i;
  for (genvar l = 0; l < Levels; l++) begin : gen_level
    for (genvar y = 0; y < Poy; y++) begin : gen_row
      assign turned[l+1][y] = rotation_word[l] ? turned[l][(y+(1<<l))%Poy] : turned[l][y];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) write_o <= '0;
    else write_o <= write_word & {Poy{fetch_word}};
  end

  always_ff @(posedge clk_i) begin
    word_o <= word_word;
    for (int unsigned y = 0; y < Poy; y++) words_o[y] <= mask_word[y] ? turned[Levels][y] : '0;
  end

  logic unused;
  assign unused = ^{rest_pass, rotation_word};

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && fetch_i) begin
      assert (bank_pass < 8'(Poy))
      else $error("a walk is in bank %0d of %0d", bank_pass, Poy);
    end
  end
`endif

endmodule
