// Cuts the runs of a DRAM access into AXI bursts: none crosses a multiple of BurstBytes, a power of two of at most 4 KiB.
// Runs begin at a beat.
//
// The transfer must be stable from load_i to the last burst. The burst on the outputs is replaced in the cycle after next_i.
module burst_cutter #(
  parameter int unsigned BeatBytes = 16,
  parameter int unsigned BurstBytes = 4096
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   load_i,
  // Base of the region, a multiple of 4 KiB.
  input  logic [63:12]           base_i,
  input  command_pkg::transfer_t transfer_i,
  input  logic                   next_i,
  output logic                   valid_o,
  output logic [63:0]            address_o,
  // Beats of the burst, 1 to 256.
  output logic [8:0]             beats_o,
  output logic                   last_o
);

  localparam int unsigned BeatShift = $clog2(BeatBytes);
  localparam int unsigned BlockBeats = BurstBytes / BeatBytes;
  localparam int unsigned PlaceWidth = (BlockBeats > 1) ? $clog2(BlockBeats) : 1;

  logic valid_q, last_in_run_q;
  logic [63:0] address_q, run_q, run_d;
  logic [23:0] rest_q;  // beats of the run behind this burst, unless it is the run's last
  logic [15:0] runs_q;  // runs behind this one
  logic [8:0] beats_q;

  // A sum of 64 bits in two halves side by side; the lower one's carry chooses between the upper ones.
  function automatic logic [63:0] moved(logic [63:0] from, logic [31:0] by);
    logic [32:0] low;
    logic [31:0] high_up;
    low = {1'b0, from[31:0]} + {1'b0, by};
    high_up = from[63:32] + 32'd1;
    return {low[32] ? high_up : from[63:32], low[31:0]};
  endfunction

  assign run_d = load_i ? moved({base_i, 12'b0}, transfer_i.address) : moved(run_q, transfer_i.stride);

  // Beats from a run's first to the end of its block, modulo the block: known a run ahead, so that no sum waits for
  // another. A run that goes on has a whole block before it.
  logic begins, first_beyond, beyond;
  logic [PlaceWidth-1:0] short_d, next_short_q;
  logic [8:0] room;

  assign begins = load_i || last_in_run_q;
  assign short_d = load_i ? -transfer_i.address[BeatShift+:PlaceWidth] : next_short_q;
  assign room = (short_d & PlaceWidth'(BlockBeats - 1)) == '0 ? 9'(BlockBeats) : 9'(short_d);
  assign first_beyond = transfer_i.beats > 24'(room);
  assign beyond = begins ? first_beyond : rest_q > 24'(BlockBeats);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
    end else if (load_i) begin
      valid_q <= 1'b1;
    end else if (next_i && last_o) begin
      valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (load_i || next_i) begin
      last_in_run_q <= !beyond;
      if (begins) begin
        address_q <= run_d;
        beats_q <= first_beyond ? room : transfer_i.beats[8:0];
        rest_q <= transfer_i.beats - 24'(room);
        run_q <= run_d;
        next_short_q <= short_d - transfer_i.stride[BeatShift+:PlaceWidth];
      end else begin
        address_q <= moved(address_q | 64'(BurstBytes - 1), 32'd1);
        beats_q <= beyond ? 9'(BlockBeats) : rest_q[8:0];
        rest_q <= rest_q - 24'(BlockBeats);
      end
    end
    if (load_i) runs_q <= transfer_i.runs - 16'd1;
    else if (next_i && last_in_run_q) runs_q <= runs_q - 16'd1;
  end

  assign valid_o = valid_q;
  assign address_o = address_q;
  assign beats_o = beats_q;
  assign last_o = last_in_run_q && runs_q == '0;

  logic unused_region;
  assign unused_region = ^transfer_i.region;

`ifndef SYNTHESIS
  a_block: assert property (@(posedge clk_i) disable iff (!rst_ni)
    valid_q |-> (address_q / 64'(BurstBytes)) == ((address_q + 64'(beats_q) * 64'(BeatBytes) - 64'd1) / 64'(BurstBytes)));
  a_begins_at_a_beat: assert property (@(posedge clk_i) disable iff (!rst_ni)
    load_i |-> (transfer_i.address % BeatBytes) == 0 && (transfer_i.runs == 16'd1 || (transfer_i.stride % BeatBytes) == 0));
  a_some: assert property (@(posedge clk_i) disable iff (!rst_ni) valid_q |-> beats_q != '0);
`endif

endmodule
