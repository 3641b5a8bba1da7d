// The drain: bias, shortcut, rounding, activation, saturation and the write of finished outputs, one row of one map a
// slot. A convolution's groups come from the array; a pooling's rows of outputs come one by one as groups of one row of
// one map.
//
// `start_i` announces a group in the cycle before its first slot. Slot c: sums, record and shortcut c+9, added c+10,
// shifted c+11, rounded c+12, clamped c+13, written c+14, complete c+15.
module drain #(
  parameter int unsigned Pox = 8,
  parameter int unsigned Poy = 8,
  parameter int unsigned Pof = 4,
  parameter int unsigned AddressWidth = 9,
  parameter int unsigned ParameterAddressWidth = 10,
  parameter int unsigned ShortcutStride = 2,
  parameter bit Leaky = 1'b1,
  localparam int unsigned WordPixels = 2 * Pox,
  localparam int unsigned LaneWidth = Pof > 1 ? $clog2(Pof) : 1,
  localparam int unsigned MapsWidth = $clog2(Pof + 1),
  localparam int unsigned RowWidth = Poy > 1 ? $clog2(Poy) : 1,
  localparam int unsigned RowsWidth = $clog2(Poy + 1),
  localparam int unsigned LiveWidth = $clog2(Pox),
  localparam int unsigned CountWidth = $clog2(Pox + 1)
) (
  input logic clk_i,
  input logic rst_ni,

  // a command: static from `command_start_i` to `done_o`
  input logic command_start_i,
  input logic pool_i,  // it is a pooling
  input command_pkg::destination_t destination_i,
  input command_pkg::shortcut_t shortcut_i,  // all zero in a pooling
  input logic [LiveWidth-1:0] ragged_i,  // columns of a ragged last group: Nox mod Pox
  input logic [ParameterAddressWidth-1:0] parameters_i,
  input logic [4:0] pool_shift_i,
  input logic signed [7:0] low_i,
  input logic signed [7:0] high_i,
  input logic [4:0] leak_i,

  // a group
  input logic start_i,
  input logic [LaneWidth-1:0] lane_i,  // of its first map
  input logic [MapsWidth-1:0] maps_i,
  input logic [RowsWidth-1:0] rows_i,
  input logic column_last_i,
  input logic row_last_i,
  input logic last_i,  // the command's last
  output logic busy_o,
  output logic last_o,  // the group's last slot

  input logic [Pof-1:0][Poy-1:0][Pox-1:0][31:0] sums_i,  // of the array, from c+7 on
  input logic [Pox-1:0][31:0] pool_sums_i,  // in c+7

  // parameter buffer
  output logic pr_en_o,
  output logic [ParameterAddressWidth-1:0] pr_addr_o,
  input logic [31:0] pr_data_i,

  // copy B: the shortcut
  output logic b_en_o,
  output logic [7:0] b_bank_o,
  output logic [AddressWidth-1:0] b_addr_o,
  input logic [WordPixels*8-1:0] b_data_i,

  // page write
  output logic w_en_o,
  output logic [7:0] w_bank_o,
  output logic [AddressWidth-1:0] w_addr_o,
  output logic [WordPixels-1:0] w_be_o,
  output logic [WordPixels*8-1:0] w_data_o,

  output logic [CountWidth-1:0] saturated_o,  // pixels written in this cycle that were saturated
  output logic done_o
);

  // ---- slots ----
  logic busy_q, read_last_q, row_end_q, map_end_q;
  logic [3:0] read_q;
  logic [RowWidth-1:0] row_q;
  logic [RowsWidth-1:0] rows_q, rows_left_q;
  logic [LaneWidth-1:0] lane_q;
  logic [MapsWidth-1:0] maps_left_q;
  logic column_last_q, row_last_q, last_q;
  logic single_read, row_done, map_done;

  assign single_read = ~shortcut_i.present | shortcut_i.words == 4'd1;
  assign row_done = busy_q & read_last_q;  // an output row is finished
  assign map_done = row_done & row_end_q;
  assign last_o = read_last_q & row_end_q & map_end_q;
  assign busy_o = busy_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) busy_q <= 1'b0;
    else if (start_i) busy_q <= 1'b1;
    else if (last_o) busy_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i | row_done) begin
      read_q <= '0;
      read_last_q <= single_read;
    end else begin
      read_q <= read_q + 4'd1;
      read_last_q <= read_q + 4'd2 == shortcut_i.words;
    end

    if (start_i) begin
      rows_q <= rows_i;
      rows_left_q <= rows_i - RowsWidth'(1);
      row_end_q <= rows_i == RowsWidth'(1);
      row_q <= '0;
      lane_q <= lane_i;
      maps_left_q <= maps_i - MapsWidth'(1);
      map_end_q <= maps_i == MapsWidth'(1);
      column_last_q <= column_last_i;
      row_last_q <= row_last_i;
      last_q <= last_i;
    end else if (map_done) begin
      rows_left_q <= rows_q - RowsWidth'(1);
      row_end_q <= rows_q == RowsWidth'(1);
      row_q <= '0;
      lane_q <= lane_q + LaneWidth'(1);
      maps_left_q <= maps_left_q - MapsWidth'(1);
      map_end_q <= maps_left_q == MapsWidth'(1);
    end else if (row_done) begin
      rows_left_q <= rows_left_q - RowsWidth'(1);
      row_end_q <= rows_left_q == RowsWidth'(1);
      row_q <= row_q + RowWidth'(1);
    end
  end

  // ---- what belongs to a map: its record, and its pixel in a packed word ----
  localparam int unsigned PixelWidth = $clog2(WordPixels);
  logic [ParameterAddressWidth-1:0] record_q, record_group_q, record_next;
  logic [PixelWidth-1:0] pixel_q;

  assign record_next = record_q + ParameterAddressWidth'(1);

  always_ff @(posedge clk_i) begin
    if (command_start_i) begin
      record_q <= parameters_i;
      record_group_q <= parameters_i;
      pixel_q <= '0;
    end else if (map_done) begin
      if (map_end_q & ~(column_last_q & row_last_q)) begin
        record_q <= record_group_q;
      end else begin
        record_q <= record_next;
        if (map_end_q) record_group_q <= record_next;
      end
      pixel_q <= pixel_q + PixelWidth'(1);  // packed maps have one pixel: every map of a group is new
    end
  end

  delay_line #(
    .Width(1),
    .Cycles(5),
    .Clear(1'b1)
  ) u_delay_pr_en (
    .clk_i,
    .rst_ni,
    .data_i(busy_q & ~pool_i),
    .data_o(pr_en_o)
  );
  delay_line #(
    .Width(ParameterAddressWidth),
    .Cycles(5)
  ) u_delay_pr_addr (
    .clk_i,
    .rst_ni,
    .data_i(record_q),
    .data_o(pr_addr_o)
  );

  // ---- the shortcut's pixels: c+8 ----
  logic [Pox-1:0][7:0] shortcut_pixels;
  logic shortcut_present;

  shortcut_read #(
    .Pox(Pox),
    .Poy(Poy),
    .AddressWidth(AddressWidth),
    .Stride(ShortcutStride)
  ) u_shortcut (
    .clk_i,
    .rst_ni,
    .start_i(command_start_i),
    .shortcut_i,
    .slot_i(busy_q),
    .read_i(read_q),
    .row_end_i(read_last_q),
    .map_end_i(row_end_q),
    .group_end_i(map_end_q),
    .column_last_i(column_last_q),
    .row_last_i(row_last_q),
    .b_en_o,
    .b_bank_o,
    .b_addr_o,
    .b_data_i,
    .pixels_o(shortcut_pixels),
    .present_o(shortcut_present)
  );

  // ---- where the row goes: c+1 ----
  logic [7:0] bank;
  logic [AddressWidth-1:0] address;
  logic [13:0] column_q;  // half word of the row

  tile_walk #(
    .Poy(Poy),
    .AddressWidth(AddressWidth)
  ) u_walk (
    .clk_i,
    .start_i(command_start_i),
    .place_i(destination_i.place),
    .row_i(destination_i.row),
    .advance_i(row_done),
    .map_end_i(row_end_q),
    .group_end_i(map_end_q),
    .column_last_i(column_last_q),
    .row_last_i(row_last_q),
    .map_step_i(~destination_i.packed_ | (&pixel_q)),
    .bank_o(bank),
    .address_o(address)
  );

  always_ff @(posedge clk_i) begin
    if (command_start_i) column_q <= '0;
    else if (map_done & map_end_q) column_q <= column_last_q ? '0 : column_q + 14'd1;
  end

  typedef struct packed {
    logic [7:0] bank;
    logic [AddressWidth-1:0] address;
    logic half;
    logic column_last;
    logic [PixelWidth-1:0] pixel;
  } target_t;

  localparam int unsigned TargetWidth = 8 + AddressWidth + 2 + PixelWidth;
  // verilator lint_off UNUSEDSIGNAL
  target_t target_q, target_soon, target;  // c+1, c+12, c+13; `live` stands for its last column
  // verilator lint_on UNUSEDSIGNAL
  logic [Pox-1:0] live;  // columns inside the row, with `target`

  always_ff @(posedge clk_i) begin
    target_q.bank <= bank;
    target_q.address <= address + AddressWidth'(column_q[13:1]);
    target_q.half <= column_q[0];
    target_q.column_last <= column_last_q;
    target_q.pixel <= pixel_q;
  end

  delay_line #(
    .Width(TargetWidth),
    .Cycles(11)
  ) u_delay_target (
    .clk_i,
    .rst_ni,
    .data_i(target_q),
    .data_o(target_soon)
  );

  always_ff @(posedge clk_i) begin
    target <= target_soon;
    for (int unsigned x = 0; x < Pox; x++) begin
      live[x] <= ~target_soon.column_last | ragged_i == '0 | LiveWidth'(x) < ragged_i;
    end
  end

  // ---- c+7: sums of the slot's row; c+8: of its map ----
  logic [RowWidth-1:0] row_sum;
  logic [LaneWidth-1:0] lane_sum;

  delay_line #(
    .Width(RowWidth),
    .Cycles(7)
  ) u_delay_row (
    .clk_i,
    .rst_ni,
    .data_i(row_q),
    .data_o(row_sum)
  );
  delay_line #(
    .Width(LaneWidth),
    .Cycles(8)
  ) u_delay_lane (
    .clk_i,
    .rst_ni,
    .data_i(lane_q),
    .data_o(lane_sum)
  );

  logic [Pof-1:0][Pox-1:0][31:0] row_sums_q;
  logic [Pox-1:0][31:0] pool_sums_q, sums_q;

  always_ff @(posedge clk_i) begin
    for (int unsigned p = 0; p < Pof; p++) row_sums_q[p] <= sums_i[p][row_sum];
    pool_sums_q <= pool_sums_i;
    sums_q <= pool_i ? pool_sums_q : row_sums_q[lane_sum];
  end

  // ---- c+7: the record; c+8: what its shift is to the shortcut ----
  logic [4:0] shift8_q, shift9_q, shift10_q, align_q;
  logic [5:0] shift_negative_q;
  logic signed [26:0] bias8_q, bias9_q;

  always_ff @(posedge clk_i) begin
    bias8_q <= pool_i ? '0 : pr_data_i[31:5];
    shift8_q <= pool_i ? pool_shift_i : pr_data_i[4:0];
    align_q <= pr_data_i[4:0] - shortcut_i.delta[4:0];
    bias9_q <= bias8_q;
    shift9_q <= shift8_q;
    shift10_q <= shift9_q;
    shift_negative_q <= {1'b0, shift9_q} + {1'b0, leak_i};
  end

  // ---- c+9: sum, bias and shortcut; c+10: added ----
  logic [Pox-1:0][31:0] aligned_q, added_q;
  logic [Pox-1:0][7:0] pixels;
  logic [Pox-1:0] saturated;

  for (genvar x = 0; x < Pox; x++) begin : gen_column
    always_ff @(posedge clk_i) begin
      aligned_q[x] <= shortcut_present ? {{24{shortcut_pixels[x][7]}}, shortcut_pixels[x]} << align_q : '0;
      added_q[x] <= sums_q[x] + aligned_q[x] + 32'(bias9_q);
    end

    requant #(
      .Leaky(Leaky)
    ) u_requant (
      .clk_i,
      .sum_i(added_q[x]),
      .shift_i(shift10_q),
      .shift_negative_i(shift_negative_q),
      .low_i,
      .high_i,
      .pixel_o(pixels[x]),
      .saturated_o(saturated[x])
    );
  end

  // ---- c+13: written in c+14 ----
  logic write, write_last, write_last_q, written_last_q;
  logic [CountWidth-1:0] count;

  delay_line #(
    .Width(2),
    .Cycles(13),
    .Clear(1'b1)
  ) u_delay_write (
    .clk_i,
    .rst_ni,
    .data_i({row_done, row_done & last_o & last_q}),
    .data_o({write, write_last})
  );

  always_comb begin
    count = '0;
    for (int unsigned x = 0; x < Pox; x++) begin
      count = count + CountWidth'(live[x] & saturated[x]);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      w_en_o <= 1'b0;
      write_last_q <= 1'b0;
      written_last_q <= 1'b0;
      saturated_o <= '0;
    end else begin
      w_en_o <= write;
      write_last_q <= write_last;
      written_last_q <= write_last_q;
      saturated_o <= write ? count : '0;
    end
  end

  assign done_o = written_last_q;

  // A lower half is written as a whole word, zeros above it; the first map of a packed word likewise.
  always_ff @(posedge clk_i) begin
    w_bank_o <= target.bank;
    w_addr_o <= target.address;
    for (int unsigned i = 0; i < WordPixels; i++) begin
      if (destination_i.packed_) begin
        w_be_o[i] <= target.pixel == '0 | target.pixel == PixelWidth'(i);
        w_data_o[8*i+:8] <= target.pixel != '0 | i == 0 ? pixels[0] : '0;
      end else begin
        w_be_o[i] <= ~target.half | i >= Pox;
        w_data_o[8*i+:8] <= (target.half ? i >= Pox : i < Pox) && live[i%Pox] ? pixels[i%Pox] : '0;
      end
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(start_i && busy_q && !last_o))
      else $error("a group is handed to a busy drain");
    end
  end
`endif

endmodule
