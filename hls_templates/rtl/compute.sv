// COMPUTE: the array with its drain, and pooling (docs/microarchitecture.md, sections 5 and 6).
//
// A command starts with `start_i` in its first cycle s; `done_o` is high in its last. All that it does in between is
// fixed by the command, so the unit has no other handshake.
module compute #(
  parameter int unsigned Pox = 8,  // columns of the array
  parameter int unsigned Poy = 8,  // rows of the array, and banks of a page
  parameter int unsigned Pof = 4,  // maps of the array
  parameter int unsigned Pages = 2,  // feature pages
  parameter int unsigned PageDepth = 512,  // words of a bank
  parameter int unsigned WeightDepth = 32768,  // words of Pof weights
  parameter int unsigned ParameterDepth = 1024,  // records
  // what the unit is built for (fpga_model/machine/capability.py)
  parameter int unsigned KernelColumns = 8,
  parameter int unsigned StrideColumns = 2,
  parameter int unsigned ShortcutStride = 2,
  parameter int unsigned PoolColumns = 16,
  parameter int unsigned PoolStride = 2,
  parameter int unsigned PoolDilation = 1,
  parameter bit RowByRow = 1'b1,
  parameter bit Grouped = 1'b1,
  parameter bit Leaky = 1'b1,
  localparam int unsigned WordPixels = 2 * Pox,
  localparam int unsigned WordWidth = WordPixels * 8,
  localparam int unsigned PageWidth = Pages > 1 ? $clog2(Pages) : 1,
  localparam int unsigned BankWidth = Poy > 1 ? $clog2(Poy) : 1,
  localparam int unsigned AddressWidth = PageDepth > 1 ? $clog2(PageDepth) : 1,
  localparam int unsigned WeightAddressWidth = WeightDepth > 1 ? $clog2(WeightDepth) : 1,
  localparam int unsigned ParameterAddressWidth = ParameterDepth > 1 ? $clog2(ParameterDepth) : 1,
  localparam int unsigned CountWidth = $clog2(Pox + 1)
) (
  input logic clk_i,
  input logic rst_ni,

  input logic start_i,
  // verilator lint_off UNUSEDSIGNAL
  input logic [command_pkg::ComputeWords*command_pkg::ProgramWordBits-1:0] command_i,  // from `start_i` to `done_o`
  // verilator lint_on UNUSEDSIGNAL
  output logic done_o,

  // copy A of the pages: a word of every bank, two cycles after its address
  output logic [Poy-1:0] a_en_o,
  output logic [PageWidth-1:0] a_page_o,
  output logic [Poy-1:0][AddressWidth-1:0] a_addr_o,
  input logic [Poy-1:0][WordWidth-1:0] a_data_i,

  // copy B: a word of one bank, likewise
  output logic b_en_o,
  output logic [PageWidth-1:0] b_page_o,
  output logic [BankWidth-1:0] b_bank_o,
  output logic [AddressWidth-1:0] b_addr_o,
  input logic [WordWidth-1:0] b_data_i,

  // write of both copies
  output logic w_en_o,
  output logic [PageWidth-1:0] w_page_o,
  output logic [BankWidth-1:0] w_bank_o,
  output logic [AddressWidth-1:0] w_addr_o,
  output logic [WordPixels-1:0] w_be_o,
  output logic [WordWidth-1:0] w_data_o,

  // weight buffer, parameter buffer: two cycles after the address
  output logic wt_en_o,
  output logic [WeightAddressWidth-1:0] wt_addr_o,
  input logic [Pof*8-1:0] wt_data_i,
  output logic pr_en_o,
  output logic [ParameterAddressWidth-1:0] pr_addr_o,
  input logic [31:0] pr_data_i,

  output logic [CountWidth-1:0] saturated_o,  // pixels written in this cycle that were saturated
  output logic hold_o  // the array waits for the drain
);

  localparam int unsigned OffsetWidth = $clog2(Pox);
  localparam int unsigned LaneWidth = Pof > 1 ? $clog2(Pof) : 1;
  localparam int unsigned MapsWidth = $clog2(Pof + 1);
  localparam int unsigned RowsWidth = $clog2(Poy + 1);

  // The two kinds of command: one of the two is there.
  logic is_pool, start_convolve, start_pool;
  command_pkg::convolve_t convolve_command;
  command_pkg::pool_t pool_command;

  assign is_pool = command_i[2:0] == command_pkg::OpcodePool;
  assign start_convolve = start_i & ~is_pool;
  assign start_pool = start_i & is_pool;
  assign convolve_command = command_i;
  assign pool_command = command_i;

  // ---- convolution: control ----
  logic fetch, advance, ky_first, ky_last, if_last, column_last, row_last, moves;
  logic [Poy-1:0] live_rows;
  logic wave, wave_first;
  logic group_end, group_column_last, group_row_last, group_last, group_word;
  logic [LaneWidth-1:0] group_lane;
  logic [MapsWidth-1:0] group_maps;
  logic [RowsWidth-1:0] group_rows;
  logic drain_busy, drain_last;

  conv_ctrl #(
    .Poy(Poy),
    .Pof(Pof),
    .Grouped(Grouped)
  ) u_conv_ctrl (
    .clk_i,
    .rst_ni,
    .start_i(start_convolve),
    .command_i(convolve_command),
    .drain_busy_i(drain_busy),
    .drain_last_i(drain_last),
    .fetch_o(fetch),
    .advance_o(advance),
    .ky_first_o(ky_first),
    .ky_last_o(ky_last),
    .if_last_o(if_last),
    .column_last_o(column_last),
    .row_last_o(row_last),
    .moves_o(moves),
    .live_rows_o(live_rows),
    .wave_o(wave),
    .wave_first_o(wave_first),
    .group_end_o(group_end),
    .group_lane_o(group_lane),
    .group_maps_o(group_maps),
    .group_rows_o(group_rows),
    .group_column_last_o(group_column_last),
    .group_row_last_o(group_row_last),
    .group_last_o(group_last),
    .group_word_o(group_word),
    .hold_o
  );

  // ---- convolution: pixels ----
  logic line_half;
  logic [Poy-1:0] line_write;
  logic [5:0] line_word;
  logic [Poy-1:0][WordWidth-1:0] line_words;

  line_fetch #(
    .Pox(Pox),
    .Poy(Poy),
    .AddressWidth(AddressWidth),
    .RowByRow(RowByRow)
  ) u_line_fetch (
    .clk_i,
    .rst_ni,
    .start_i(start_convolve),
    .command_i(convolve_command),
    .fetch_i(fetch),
    .advance_i(advance),
    .ky_first_i(ky_first),
    .ky_last_i(ky_last),
    .if_last_i(if_last),
    .column_last_i(column_last),
    .row_last_i(row_last),
    .moves_i(moves),
    .live_rows_i(live_rows),
    .a_en_o,
    .a_addr_o,
    .a_data_i,
    .half_o(line_half),
    .write_o(line_write),
    .word_o(line_word),
    .words_o(line_words)
  );

  assign a_page_o = PageWidth'(convolve_command.source.page);

  // What control does in cycle k reaches the line in k+5.
  logic line_load, line_load_half, line_wave, line_wave_first;

  delay_line #(
    .Width(4),
    .Cycles(5),
    .Clear(1'b1)
  ) u_delay_line (
    .clk_i,
    .rst_ni,
    .data_i({advance, line_half, wave, wave_first}),
    .data_o({line_load, line_load_half, line_wave, line_wave_first})
  );

  logic [Poy-1:0][Pox-1:0][7:0] pixels;

  line_regs #(
    .Pox(Pox),
    .Poy(Poy),
    .Columns(KernelColumns),
    .Stride(StrideColumns)
  ) u_line_regs (
    .clk_i,
    .offset_i(convolve_command.columns.offset[OffsetWidth-1:0]),
    .stride_i(convolve_command.columns.stride),
    .write_i(line_write),
    .word_i(line_word),
    .words_i(line_words),
    .load_i(line_load),
    .half_i(line_load_half),
    .shift_i(line_wave),
    .pixels_o(pixels)
  );

  // ---- convolution: weights, at hand in k+5 ----
  logic weight_wave, weight_group_end, weight_group_word;

  delay_line #(
    .Width(3),
    .Cycles(3),
    .Clear(1'b1)
  ) u_delay_weight (
    .clk_i,
    .rst_ni,
    .data_i({wave, group_end, group_word}),
    .data_o({weight_wave, weight_group_end, weight_group_word})
  );

  weight_read #(
    .AddressWidth(WeightAddressWidth)
  ) u_weight_read (
    .clk_i,
    .start_i(start_convolve),
    .first_i(WeightAddressWidth'(convolve_command.weights)),
    .wave_i(weight_wave),
    .group_end_i(weight_group_end),
    .group_word_i(weight_group_word),
    .en_o(wt_en_o),
    .addr_o(wt_addr_o)
  );

  // ---- convolution: sums, handed over in k+8 ----
  logic hand_over;
  logic [Pof-1:0][Poy-1:0][Pox-1:0][31:0] sums;

  delay_line #(
    .Width(1),
    .Cycles(7),
    .Clear(1'b1)
  ) u_delay_hand_over (
    .clk_i,
    .rst_ni,
    .data_i(group_end),
    .data_o(hand_over)
  );

  mac_array #(
    .Pox(Pox),
    .Poy(Poy),
    .Pof(Pof)
  ) u_mac_array (
    .clk_i,
    .rst_ni,
    .wave_i(line_wave),
    .first_i(line_wave_first),
    .pixels_i(pixels),
    .weights_i(wt_data_i),
    .hand_over_i(hand_over),
    .sums_o(sums)
  );

  // ---- pooling ----
  logic pool_row, pool_column_last, pool_row_last, pool_last, pool_b_en;
  logic [7:0] pool_b_bank;
  logic [AddressWidth-1:0] pool_b_addr;
  logic [Pox-1:0][31:0] pool_sums;

  pool #(
    .Pox(Pox),
    .Poy(Poy),
    .AddressWidth(AddressWidth),
    .Columns(PoolColumns),
    .Stride(PoolStride),
    .Dilation(PoolDilation)
  ) u_pool (
    .clk_i,
    .rst_ni,
    .start_i(start_pool),
    .command_i(pool_command),
    .b_en_o(pool_b_en),
    .b_bank_o(pool_b_bank),
    .b_addr_o(pool_b_addr),
    .b_data_i,
    .row_o(pool_row),
    .row_column_last_o(pool_column_last),
    .row_last_o(pool_row_last),
    .last_o(pool_last),
    .sums_o(pool_sums)
  );

  // ---- the drain of both ----
  command_pkg::destination_t destination;
  command_pkg::shortcut_t shortcut;
  logic drain_b_en;
  logic [7:0] drain_b_bank, w_bank;
  logic [AddressWidth-1:0] drain_b_addr;

  assign destination = is_pool ? pool_command.destination : convolve_command.destination;
  assign shortcut = is_pool ? '0 : convolve_command.shortcut;

  drain #(
    .Pox(Pox),
    .Poy(Poy),
    .Pof(Pof),
    .AddressWidth(AddressWidth),
    .ParameterAddressWidth(ParameterAddressWidth),
    .ShortcutStride(ShortcutStride),
    .Leaky(Leaky)
  ) u_drain (
    .clk_i,
    .rst_ni,
    .command_start_i(start_i),
    .pool_i(is_pool),
    .destination_i(destination),
    .shortcut_i(shortcut),
    .ragged_i(is_pool ? pool_command.Nox[OffsetWidth-1:0] : convolve_command.Nox[OffsetWidth-1:0]),
    .parameters_i(ParameterAddressWidth'(convolve_command.parameters)),
    .pool_shift_i(pool_command.maximum ? '0 : pool_command.shift),
    .low_i(is_pool ? -8'sd128 : convolve_command.low),
    .high_i(is_pool ? 8'sd127 : convolve_command.high),
    .leak_i(is_pool ? '0 : convolve_command.leak),
    .start_i(is_pool ? pool_row : group_end),
    .lane_i(group_lane),
    .maps_i(is_pool ? MapsWidth'(1) : group_maps),
    .rows_i(is_pool ? RowsWidth'(1) : group_rows),
    .column_last_i(is_pool ? pool_column_last : group_column_last),
    .row_last_i(is_pool ? pool_row_last : group_row_last),
    .last_i(is_pool ? pool_last : group_last),
    .busy_o(drain_busy),
    .last_o(drain_last),
    .sums_i(sums),
    .pool_sums_i(pool_sums),
    .pr_en_o,
    .pr_addr_o,
    .pr_data_i,
    .b_en_o(drain_b_en),
    .b_bank_o(drain_b_bank),
    .b_addr_o(drain_b_addr),
    .b_data_i,
    .w_en_o,
    .w_bank_o(w_bank),
    .w_addr_o,
    .w_be_o,
    .w_data_o,
    .saturated_o,
    .done_o
  );

  assign w_bank_o = BankWidth'(w_bank);
  logic unused_bank;
  assign unused_bank = ^w_bank;
  assign w_page_o = PageWidth'(destination.place.page);

  assign b_en_o   = is_pool ? pool_b_en : drain_b_en;
  assign b_bank_o = BankWidth'(is_pool ? pool_b_bank : drain_b_bank);
  assign b_addr_o = is_pool ? pool_b_addr : drain_b_addr;
  assign b_page_o = PageWidth'(is_pool ? pool_command.source.page : shortcut.place.page);

`ifndef SYNTHESIS
  // Within what the unit is built for. The column stride of a single column is of no account.
  always_ff @(posedge clk_i) begin
    if (rst_ni && start_i) begin
      assert (command_i[2:0] == command_pkg::OpcodePool || command_i[2:0] == command_pkg::OpcodeConvolve)
      else $error("command %0d is not for COMPUTE", command_i[2:0]);
      if (is_pool) begin
        assert ((32'(pool_command.Nkx) - 1) * 32'(pool_command.dilation) < PoolColumns)
        else $error("a pooling window of more than %0d columns", PoolColumns);
        assert (pool_command.Nox == 16'd1 || 32'(pool_command.columns.stride) <= PoolStride)
        else $error("a pooling of column stride %0d", pool_command.columns.stride);
        assert (32'(pool_command.dilation) <= PoolDilation)
        else $error("a pooling of column dilation %0d", pool_command.dilation);
      end else begin
        assert (32'(convolve_command.Nkx) <= KernelColumns)
        else $error("a kernel of %0d columns", convolve_command.Nkx);
        assert (convolve_command.Nox == 16'd1 || 32'(convolve_command.columns.stride) <= StrideColumns)
        else $error("a convolution of column stride %0d", convolve_command.columns.stride);
        assert (convolve_command.Nox == 16'd1 || 32'(shortcut.stride) <= ShortcutStride)
        else $error("a shortcut of column stride %0d", shortcut.stride);
        assert (RowByRow || !convolve_command.row_by_row)
        else $error("rows are to be read one by one");
        assert (Grouped || convolve_command.group_left >= convolve_command.Tof)
        else $error("a grouped convolution");
        assert (Leaky || convolve_command.leak == '0)
        else $error("a leaky ReLU");
      end
    end
  end
`endif

endmodule
