// Control of a convolution: the loop nest of docs/microarchitecture.md, section 5, cycle by cycle.
//
// It runs one step ahead of the array: while the waves of a step are summed, the line of the next one is fetched. The
// only recurrence is `advance`, which moves the nest on by a step; it depends on registered flags alone, and so does
// `hold`, with which the array waits at the end of a group for the drain of the group before.
//
// A group takes at least 4 cycles. What changes from group to group is therefore worked out in the cycles that follow
// the change. (The first group's line may take one cycle; what comes after it is taken from the command at the start.)
module conv_ctrl #(
  parameter int unsigned Poy = 8,  // rows of the array
  parameter int unsigned Pof = 4,  // maps of the array
  parameter bit Grouped = 1'b1,  // 1: grouped convolutions
  localparam int unsigned LaneWidth = Pof > 1 ? $clog2(Pof) : 1,
  localparam int unsigned MapsWidth = $clog2(Pof + 1),
  localparam int unsigned RowsWidth = $clog2(Poy + 1)
) (
  input logic clk_i,
  input logic rst_ni,

  input logic start_i,  // the command's first cycle
  // verilator lint_off UNUSEDSIGNAL
  input command_pkg::convolve_t command_i,
  // verilator lint_on UNUSEDSIGNAL

  // the drain
  input logic drain_busy_i,
  input logic drain_last_i,  // it is in its group's last cycle

  // the line that is being fetched, and how the nest goes on at `advance_o`
  output logic fetch_o,  // a word of every row is read in this cycle
  output logic advance_o,  // last cycle of its step: from the next cycle on the line is the waves', and the next is fetched
  output logic ky_first_o,
  output logic ky_last_o,
  output logic if_last_o,
  output logic column_last_o,
  output logic row_last_o,
  output logic moves_o,  // the next array group reads the input maps that follow
  output logic [Poy-1:0] live_rows_o,  // rows of the array that the tile has

  // the waves
  output logic wave_o,  // every unit adds one product
  output logic wave_first_o,  // the group's first

  // end of a group: its sums are handed to the drain
  output logic group_end_o,
  output logic [LaneWidth-1:0] group_lane_o,  // lane of its first map
  output logic [MapsWidth-1:0] group_maps_o,
  output logic [RowsWidth-1:0] group_rows_o,
  output logic group_column_last_o,
  output logic group_row_last_o,
  output logic group_last_o,  // the command's last group
  output logic group_word_o,  // the next group reads the weight words that follow, not the same again

  output logic hold_o  // the array waits for the drain
);

  // ---- time ----
  logic [15:0] time_q;  // cycles of the step after this one
  logic time_last_q;
  logic fetch_live_q, wave_live_q;
  logic wave_end_q;  // the waves are those of a group's last step
  logic [2:0] floor_q;  // cycles that a group lasts at least
  logic hold, advance;

  assign hold = time_last_q & wave_live_q & wave_end_q & (floor_q[0] | (drain_busy_i & ~drain_last_i));
  assign advance = time_last_q & ~hold & (fetch_live_q | wave_live_q);
  assign hold_o = time_last_q & wave_live_q & wave_end_q & ~floor_q[0] & drain_busy_i & ~drain_last_i;

  logic [15:0] time_load;
  assign time_load = start_i ? command_i.fetch : command_i.step;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      time_last_q <= 1'b0;
    end else if (start_i | advance) begin
      time_last_q <= time_load == 16'd1;
    end else if (!time_last_q) begin
      time_last_q <= time_q == 16'd1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i | advance) time_q <= time_load - 16'd1;
    else if (!time_last_q) time_q <= time_q - 16'd1;
  end

  // ---- the nest, at the step that is being fetched ----
  logic step_first_q;  // first step of its group
  logic ky_first_q, ky_last_q, if_last_q, column_last_q, row_last_q, array_last_q;
  logic moves_q, word_q;
  logic [11:0] ky_q;
  logic [15:0] if_q;
  logic [13:0] column_q;
  logic step_on, if_on, column_on, row_on, array_on;  // which loops move

  assign step_on   = advance & fetch_live_q;
  assign if_on     = step_on & ky_last_q;
  assign column_on = if_on & if_last_q;
  assign row_on    = column_on & column_last_q;
  assign array_on  = row_on & row_last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      fetch_live_q <= 1'b0;
      wave_live_q  <= 1'b0;
    end else if (start_i) begin
      fetch_live_q <= 1'b1;
      wave_live_q  <= 1'b0;
    end else if (advance) begin
      fetch_live_q <= fetch_live_q & ~(array_on & array_last_q);
      wave_live_q  <= fetch_live_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) step_first_q <= 1'b1;
    else if (step_on) step_first_q <= ky_last_q & if_last_q;

    if (start_i | if_on) begin
      ky_q <= command_i.Nky - 12'd1;
      ky_first_q <= 1'b1;
      ky_last_q <= command_i.Nky == 12'd1;
    end else if (step_on) begin
      ky_q <= ky_q - 12'd1;
      ky_first_q <= 1'b0;
      ky_last_q <= ky_q == 12'd1;
    end

    if (start_i | column_on) begin
      if_q <= command_i.Nif - 16'd1;
      if_last_q <= command_i.Nif == 16'd1;
    end else if (if_on) begin
      if_q <= if_q - 16'd1;
      if_last_q <= if_q == 16'd1;
    end

    if (start_i | row_on) begin
      column_q <= command_i.column_groups - 14'd1;
      column_last_q <= command_i.column_groups == 14'd1;
    end else if (column_on) begin
      column_q <= column_q - 14'd1;
      column_last_q <= column_q == 14'd1;
    end
  end

  // Rows of a group, and of the one after it.
  function automatic logic [Poy-1:0] rows_mask(input logic [15:0] rows);
    for (int unsigned y = 0; y < Poy; y++) rows_mask[y] = 16'(y) < rows;
  endfunction

  logic [15:0] rows_q, rows_after, rows_after_q;
  logic row_after_last_q;
  logic [Poy-1:0] live_rows_q, live_after_q;
  logic [RowsWidth-1:0] row_count_q, row_count_after_q, row_count_first;

  assign rows_after = (start_i ? command_i.Toy : rows_q) - 16'(Poy);
  assign row_count_first = command_i.Toy < 16'(Poy) ? RowsWidth'(command_i.Toy) : RowsWidth'(Poy);

  always_ff @(posedge clk_i) begin
    rows_after_q <= rows_after;
    row_after_last_q <= rows_after <= 16'(Poy);
    live_after_q <= rows_mask(rows_after);
    row_count_after_q <= rows_after < 16'(Poy) ? RowsWidth'(rows_after) : RowsWidth'(Poy);
    if (start_i | array_on) begin
      rows_q <= command_i.Toy;
      row_last_q <= command_i.Toy <= 16'(Poy);
      live_rows_q <= rows_mask(command_i.Toy);
      row_count_q <= row_count_first;
    end else if (row_on) begin
      rows_q <= rows_after_q;
      row_last_q <= row_after_last_q;
      live_rows_q <= live_after_q;
      row_count_q <= row_count_after_q;
    end
  end

  // Array groups: maps of one weight word and of one group of the convolution.
  logic [15:0] maps_left_q, maps_left, group_left_q, group_left, room16, most16;
  logic [LaneWidth-1:0] lane_q, lane;
  logic [MapsWidth-1:0] room, most, maps, maps_q;

  assign maps_left  = start_i ? command_i.Tof : maps_left_q;
  assign group_left = start_i ? command_i.group_left : group_left_q;
  assign lane       = start_i ? '0 : lane_q;
  assign room       = MapsWidth'(Pof) - MapsWidth'(lane);
  assign room16     = 16'(room);
  assign most       = Grouped && group_left < room16 ? MapsWidth'(group_left) : room;
  assign most16     = 16'(most);
  assign maps       = maps_left < most16 ? MapsWidth'(maps_left) : most;

  always_ff @(posedge clk_i) begin
    maps_q <= maps;
    array_last_q <= maps_left <= most16;
    moves_q <= Grouped && group_left == 16'(maps);
    word_q <= maps == room;
    if (start_i) begin
      maps_left_q <= command_i.Tof;
      group_left_q <= command_i.group_left;
      lane_q <= '0;
    end else if (array_on) begin
      maps_left_q <= maps_left_q - 16'(maps_q);
      group_left_q <= moves_q ? command_i.Gof : group_left_q - 16'(maps_q);
      lane_q <= word_q ? '0 : lane_q + LaneWidth'(maps_q);
    end
  end

  // ---- reads ----
  logic reads_live_q, reads_last_q;
  logic [15:0] reads_q;  // after this one

  assign fetch_o = reads_live_q & ~hold;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) reads_live_q <= 1'b0;
    else if (start_i) reads_live_q <= 1'b1;
    else if (advance) reads_live_q <= fetch_live_q & ~(array_on & array_last_q);
    else if (fetch_o & reads_last_q) reads_live_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i | advance) begin
      reads_q <= command_i.fetch - 16'd1;
      reads_last_q <= command_i.fetch == 16'd1;
    end else if (fetch_o) begin
      reads_q <= reads_q - 16'd1;
      reads_last_q <= reads_q == 16'd1;
    end
  end

  // ---- waves, one step behind ----
  logic waves_live_q, waves_last_q, waves_first_q;
  logic [11:0] waves_q;  // after this one
  logic wave_step_first_q;

  assign wave_o = waves_live_q & ~hold;
  assign wave_first_o = wave_step_first_q & waves_first_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      waves_live_q <= 1'b0;
      floor_q <= '0;
    end else begin
      if (advance) waves_live_q <= fetch_live_q;
      else if (wave_o & waves_last_q) waves_live_q <= 1'b0;
      if (step_on & step_first_q) floor_q <= '1;
      else floor_q <= floor_q >> 1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (advance) begin
      waves_q <= command_i.Nkx - 12'd1;
      waves_last_q <= command_i.Nkx == 12'd1;
      waves_first_q <= 1'b1;
      wave_step_first_q <= step_first_q;
      wave_end_q <= ky_last_q & if_last_q;
    end else if (wave_o) begin
      waves_q <= waves_q - 12'd1;
      waves_last_q <= waves_q == 12'd1;
      waves_first_q <= 1'b0;
    end
  end

  // What the drain is told of the group. It holds from the step at the latest that ends the group.
  always_ff @(posedge clk_i) begin
    if (advance) begin
      group_lane_o <= lane_q;
      group_maps_o <= maps_q;
      group_rows_o <= row_count_q;
      group_column_last_o <= column_last_q;
      group_row_last_o <= row_last_q;
      group_last_o <= array_last_q & row_last_q & column_last_q;
      group_word_o <= word_q & row_last_q & column_last_q;
    end
  end

  assign advance_o     = step_on;
  assign ky_first_o    = ky_first_q;
  assign ky_last_o     = ky_last_q;
  assign if_last_o     = if_last_q;
  assign column_last_o = column_last_q;
  assign row_last_o    = row_last_q;
  assign moves_o       = moves_q;
  assign live_rows_o   = live_rows_q;
  assign group_end_o   = advance & wave_live_q & wave_end_q;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(group_end_o && drain_busy_i && !drain_last_i))
      else $error("a group is handed over while the drain is busy");
      assert (!(start_i && (fetch_live_q || wave_live_q || drain_busy_i)))
      else $error("a convolution starts while another is executed");
    end
  end
`endif

endmodule
