// Pooling and copies. For every Pox outputs of a row of a map the window's rows are read from copy B word by word and
// combined column by column; then the columns of every output are combined one a cycle, while the next words are read.
// The drain rounds and writes what comes out.
//
// Control in cycle k: address k+1, word k+3, masked and turned k+4, combined k+5. The second stage's control cycles
// begin with the next group's reads; in k+5 it takes a column of the line, selected k+6, combined k+7.
module pool #(
  parameter int unsigned Pox = 8,
  parameter int unsigned Poy = 8,
  parameter int unsigned AddressWidth = 9,
  parameter int unsigned Columns = 8,  // most columns that a window spans
  parameter int unsigned Stride = 2,  // most columns from one window to the next
  parameter int unsigned Dilation = 1,  // most columns from one column of a window to the next
  localparam int unsigned WordPixels = 2 * Pox
) (
  input logic clk_i,
  input logic rst_ni,

  input logic start_i,
  // verilator lint_off UNUSEDSIGNAL
  input command_pkg::pool_t command_i,
  // verilator lint_on UNUSEDSIGNAL

  // copy B
  output logic b_en_o,
  output logic [7:0] b_bank_o,
  output logic [AddressWidth-1:0] b_addr_o,
  input logic [WordPixels-1:0][7:0] b_data_i,

  // to the drain: a row of outputs, announced in the cycle before its slot c; its sums in c+7
  output logic row_o,
  output logic row_column_last_o,
  output logic row_last_o,
  output logic last_o,
  output logic [Pox-1:0][31:0] sums_o
);

  localparam int unsigned RowBits = 18;
  localparam int unsigned SumWidth = 20;  // of one column: at most 2**12 pixels of 8 bits
  localparam int unsigned OffsetWidth = $clog2(Pox);
  localparam int unsigned Taps = (Pox - 1) * Stride + Columns;
  localparam int unsigned Slots = (Taps + Pox + WordPixels - 1) / WordPixels;

  // ---- time: a group's reads ----
  logic [15:0] time_q;
  logic live_q, time_last_q, advance;

  assign advance = live_q & time_last_q;

  logic column_last_q, row_last_q, map_last_q, end_of_command;
  assign end_of_command = column_last_q & row_last_q & map_last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) live_q <= 1'b0;
    else if (start_i) live_q <= 1'b1;
    else if (advance & end_of_command) live_q <= 1'b0;
  end

  // A step is at least 2 cycles long.
  always_ff @(posedge clk_i) begin
    if (start_i | advance) begin
      time_q <= command_i.step - 16'd1;
      time_last_q <= 1'b0;
    end else begin
      time_q <= time_q - 16'd1;
      time_last_q <= time_q == 16'd1;
    end
  end

  // ---- the nest ----
  logic [13:0] column_groups_q;
  logic [15:0] rows_q, maps_q;
  logic row_on, map_on;

  assign row_on = advance & column_last_q;
  assign map_on = row_on & row_last_q;

  always_ff @(posedge clk_i) begin
    if (start_i | row_on) begin
      column_groups_q <= command_i.column_groups - 14'd1;
      column_last_q <= command_i.column_groups == 14'd1;
    end else if (advance) begin
      column_groups_q <= column_groups_q - 14'd1;
      column_last_q <= column_groups_q == 14'd1;
    end
    if (start_i | map_on) begin
      rows_q <= command_i.Toy - 16'd1;
      row_last_q <= command_i.Toy == 16'd1;
    end else if (row_on) begin
      rows_q <= rows_q - 16'd1;
      row_last_q <= rows_q == 16'd1;
    end
    if (start_i) begin
      maps_q <= command_i.Tof - 16'd1;
      map_last_q <= command_i.Tof == 16'd1;
    end else if (map_on) begin
      maps_q <= maps_q - 16'd1;
      map_last_q <= maps_q == 16'd1;
    end
  end

  // ---- reads ----
  logic read_q, ky_first_q, ky_last_q, word_last_q;
  logic [11:0] ky_q;
  logic [5:0] word_q;
  logic line_on;  // on to the window's next row

  assign line_on = read_q & word_last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) read_q <= 1'b0;
    else if (start_i) read_q <= 1'b1;
    else if (advance) read_q <= ~end_of_command;
    else if (line_on & ky_last_q) read_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i | advance) begin
      ky_q <= command_i.Nky - 12'd1;
      ky_first_q <= 1'b1;
      ky_last_q <= command_i.Nky == 12'd1;
    end else if (line_on) begin
      ky_q <= ky_q - 12'd1;
      ky_first_q <= 1'b0;
      ky_last_q <= ky_q == 12'd1;
    end
    if (start_i | advance | line_on) begin
      word_q <= '0;
      word_last_q <= command_i.columns.words == 6'd1;
    end else if (read_q) begin
      word_q <= word_q + 6'd1;
      word_last_q <= word_q + 6'd2 == command_i.columns.words;
    end
  end

  // ---- columns, in half words ----
  logic signed [13:0] half_q, half_first, half_next;
  logic signed [12:0] column_q;

  assign half_first = {command_i.columns.word[11], command_i.columns.word, 1'b0} +
      14'(command_i.columns.offset[OffsetWidth]);
  assign half_next = row_on ? half_first : half_q + 14'(command_i.columns.stride);

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      half_q <= half_first;
      column_q <= 13'(half_first >>> 1);
    end else if (advance) begin
      half_q <= half_next;
      column_q <= 13'(half_next >>> 1);
    end else if (read_q) begin
      column_q <= word_last_q ? 13'(half_q >>> 1) : column_q + 13'sd1;
    end
  end

  // ---- rows and maps ----
  logic [AddressWidth-1:0] map_q, row_q, row_out_q, row_next, row_out_next, group_words;
  logic [7:0] bank_q, rest_q, bank_next, rest_next;
  logic [7:0] bank_out_q, rest_out_q, bank_out_next, rest_out_next;
  logic signed [RowBits-1:0] top_next, below_next, below_first;
  logic signed [RowBits-1:0] top_q, below_q, top_out_q, below_out_q, height;  // `below` is negative inside

  assign group_words = AddressWidth'(command_i.source.group_words);
  assign height = RowBits'(command_i.rows.height);
  assign below_first = command_i.rows.top - height;
  assign top_next = top_out_q + RowBits'(command_i.rows.stride);
  assign below_next = below_out_q + RowBits'(command_i.rows.stride);

  row_walk #(
    .Poy(Poy),
    .AddressWidth(AddressWidth)
  ) u_walk_window (
    .clk_i,
    .bank_i(bank_q),
    .remainder_i(rest_q),
    .address_i(row_q),
    .interleave_i(command_i.source.interleave),
    .group_words_i(group_words),
    .step_bank_i(command_i.source_row.bank),
    .step_remainder_i(command_i.source_row.remainder),
    .step_address_i(AddressWidth'(command_i.source_row.address)),
    .bank_o(bank_next),
    .remainder_o(rest_next),
    .address_o(row_next)
  );

  row_walk #(
    .Poy(Poy),
    .AddressWidth(AddressWidth)
  ) u_walk_output (
    .clk_i,
    .bank_i(bank_out_q),
    .remainder_i(rest_out_q),
    .address_i(row_out_q),
    .interleave_i(command_i.source.interleave),
    .group_words_i(group_words),
    .step_bank_i(command_i.source_stride.bank),
    .step_remainder_i(command_i.source_stride.remainder),
    .step_address_i(AddressWidth'(command_i.source_stride.address)),
    .bank_o(bank_out_next),
    .remainder_o(rest_out_next),
    .address_o(row_out_next)
  );

  always_ff @(posedge clk_i) begin
    if (start_i) map_q <= AddressWidth'(command_i.source.address);
    else if (map_on) map_q <= map_q + AddressWidth'(command_i.source.map_words);

    if (start_i | map_on) begin
      {bank_q, rest_q, row_q} <= {command_i.source.bank, command_i.source.remainder, {AddressWidth{1'b0}}};
      {bank_out_q, rest_out_q, row_out_q} <= {command_i.source.bank, command_i.source.remainder, {AddressWidth{1'b0}}};
      {top_q, top_out_q} <= {2{command_i.rows.top}};
      {below_q, below_out_q} <= {2{below_first}};
    end else if (row_on) begin
      {bank_q, rest_q, row_q} <= {bank_out_next, rest_out_next, row_out_next};
      {bank_out_q, rest_out_q, row_out_q} <= {bank_out_next, rest_out_next, row_out_next};
      {top_q, top_out_q} <= {2{top_next}};
      {below_q, below_out_q} <= {2{below_next}};
    end else if (advance) begin
      {bank_q, rest_q, row_q} <= {bank_out_q, rest_out_q, row_out_q};
      {top_q, below_q} <= {top_out_q, below_out_q};
    end else if (line_on) begin
      {bank_q, rest_q, row_q} <= {bank_next, rest_next, row_next};
      top_q <= top_q + RowBits'(command_i.rows.dilation);
      below_q <= below_q + RowBits'(command_i.rows.dilation);
    end
  end

  // ---- k+1: the address ----
  logic covered, inside_q, ragged_q, first_q;
  logic [5:0] word1_q;
  logic reading_q;

  assign covered = ~top_q[RowBits-1] & below_q[RowBits-1] & ~column_q[12] &
      column_q < $signed({1'b0, command_i.columns.row_words});

  always_ff @(posedge clk_i) begin
    if (!rst_ni) reading_q <= 1'b0;
    else reading_q <= read_q;
  end

  always_ff @(posedge clk_i) begin
    b_bank_o <= bank_q;
    b_addr_o <= map_q + row_q + AddressWidth'(column_q);
    inside_q <= covered;
    ragged_q <= column_q + 13'sd1 == $signed({1'b0, command_i.columns.row_words});
    first_q <= ky_first_q;
    word1_q <= word_q;
  end

  assign b_en_o = reading_q & inside_q;

  // ---- k+3: the word, without what lies outside the tensor, turned by the offset ----
  logic reading_word, inside_word, ragged_word, first_word;
  logic [5:0] word_word;

  delay_line #(
    .Width(1),
    .Cycles(2),
    .Clear(1'b1)
  ) u_delay_reading (
    .clk_i,
    .rst_ni,
    .data_i(reading_q),
    .data_o(reading_word)
  );
  delay_line #(
    .Width(9),
    .Cycles(2)
  ) u_delay_word (
    .clk_i,
    .rst_ni,
    .data_i({inside_q, ragged_q, first_q, word1_q}),
    .data_o({inside_word, ragged_word, first_word, word_word})
  );

  logic [7:0] nothing;  // what a pixel outside counts for
  logic [OffsetWidth:0] width_rest;
  logic [OffsetWidth-1:0] offset;
  logic [WordPixels-1:0][7:0] masked, turned, pixels_q;
  logic write_q, write_first_q;
  logic [5:0] write_word_q;

  assign nothing = command_i.maximum ? 8'h80 : 8'h00;
  assign width_rest = command_i.width[OffsetWidth:0];
  assign offset = command_i.columns.offset[OffsetWidth-1:0];

  always_comb begin
    for (int unsigned i = 0; i < WordPixels; i++) begin
      masked[i] = nothing;
      if (inside_word && (!ragged_word || width_rest == '0 || (OffsetWidth + 1)'(i) < width_rest)) begin
        masked[i] = b_data_i[i];
      end
    end
  end

  lane_rotate #(
    .Pox(Pox)
  ) u_rotate (
    .amount_i(offset),
    .pixels_i(masked),
    .pixels_o(turned)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) write_q <= 1'b0;
    else write_q <= reading_word;
  end

  always_ff @(posedge clk_i) begin
    pixels_q <= turned;
    write_first_q <= first_word;
    write_word_q <= word_word;
  end

  // ---- k+4: combined with the rows before ----
  logic [Slots*WordPixels*SumWidth-1:0] line;

  for (genvar s = 0; s < Slots; s++) begin : gen_slot
    for (genvar i = 0; i < WordPixels; i++) begin : gen_pixel
      // As in the line registers: the first pixels of a turned word belong to the word before.
      logic early;
      logic signed [SumWidth-1:0] pixel, sum_q, combined;

      assign early = i >= Pox && int'(offset) + i >= int'(WordPixels);
      assign pixel = SumWidth'($signed(pixels_q[i]));
      assign combined = command_i.maximum ? (pixel > sum_q ? pixel : sum_q) : sum_q + pixel;

      always_ff @(posedge clk_i) begin
        if (write_q && write_word_q == (early ? 6'(s + 1) : 6'(s))) begin
          sum_q <= write_first_q ? pixel : combined;
        end
      end

      assign line[SumWidth*(s*WordPixels+i)+:SumWidth] = sum_q;
    end
  end

  logic unused_line;  // the last word need not be whole
  assign unused_line = ^line;

  // ---- second stage ----
  logic [11:0] taken_q;  // columns that are left, the present one included
  logic taking_q, taking_first_q;
  logic taken_column_last_q, taken_row_last_q, taken_last_q;
  logic single;

  assign single = command_i.Nkx == 12'd1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) taking_q <= 1'b0;
    else if (advance) taking_q <= 1'b1;
    else if (taken_q == 12'd1) taking_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (advance) begin
      taken_q <= command_i.Nkx;
      taking_first_q <= 1'b1;
      taken_column_last_q <= column_last_q;
      taken_row_last_q <= row_last_q;
      taken_last_q <= end_of_command;
    end else begin
      taken_q <= taken_q - 12'd1;
      taking_first_q <= 1'b0;
    end
  end

  assign row_o = (advance & single) | (taking_q & taken_q == 12'd2);
  assign row_column_last_o = single ? column_last_q : taken_column_last_q;
  assign row_last_o = single ? row_last_q : taken_row_last_q;
  assign last_o = single ? end_of_command : taken_last_q;

  logic load, half, take, take_first;

  delay_line #(
    .Width(3),
    .Cycles(5),
    .Clear(1'b1)
  ) u_delay_take (
    .clk_i,
    .rst_ni,
    .data_i({advance, half_q[0], taking_q}),
    .data_o({load, half, take})
  );
  delay_line #(
    .Width(1),
    .Cycles(5)
  ) u_delay_first (
    .clk_i,
    .rst_ni,
    .data_i(taking_first_q),
    .data_o(take_first)
  );

  logic [Pox-1:0][SumWidth-1:0] selected, selected_q;

  tap_line #(
    .Pox(Pox),
    .Width(SumWidth),
    .Columns(Columns),
    .Stride(Stride),
    .Dilation(Dilation)
  ) u_line (
    .clk_i,
    .load_i(load),
    .half_i(half),
    .line_i(line[SumWidth*(Taps+Pox)-1:0]),
    .shift_i(take),
    .dilation_i(command_i.dilation),
    .stride_i(command_i.columns.stride),
    .pixels_o(selected)
  );

  logic take_q, take_first_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) take_q <= 1'b0;
    else take_q <= take;
  end

  always_ff @(posedge clk_i) begin
    selected_q <= selected;
    take_first_q <= take_first;
  end

  for (genvar x = 0; x < Pox; x++) begin : gen_output
    logic signed [31:0] value, sum_q;

    assign value = 32'($signed(selected_q[x]));

    always_ff @(posedge clk_i) begin
      if (take_q) begin
        if (take_first_q) sum_q <= value;
        else if (command_i.maximum) sum_q <= value > sum_q ? value : sum_q;
        else sum_q <= sum_q + value;
      end
    end

    assign sums_o[x] = sum_q;
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && start_i) begin
      assert (command_i.step >= 16'd2)
      else $error("a pooling's step takes %0d cycles, less than 2", command_i.step);
    end
  end
`endif

endmodule
