// Cuts the runs of a DRAM access into AXI bursts: none crosses a multiple of BurstBytes, a power of two of at most 4 KiB.
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

  logic valid_q;
  logic [63:0] address_q, address_d, run_q, run_d;
  logic [23:0] rest_q, rest_d, total;  // beats of the run behind this burst, and from this burst on
  logic [15:0] runs_q;  // runs behind this one
  logic [8:0] beats_q, beats_d;
  logic [8:0] room;
  logic new_run;

  assign new_run = rest_q == '0;
  assign run_d = load_i ? {base_i, 12'b0} + 64'(transfer_i.address) : run_q + 64'(transfer_i.stride);
  // Where a run goes on, its next burst begins at the next block.
  assign address_d = (load_i || new_run) ? run_d : (address_q | 64'(BurstBytes - 1)) + 64'd1;
  assign total = (load_i || new_run) ? transfer_i.beats : rest_q;
  assign room = 9'(BlockBeats) - (9'(address_d[11:0] >> BeatShift) & 9'(BlockBeats - 1));
  assign beats_d = (total < 24'(room)) ? total[8:0] : room;
  assign rest_d = total - 24'(beats_d);

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
      address_q <= address_d;
      beats_q <= beats_d;
      rest_q <= rest_d;
      if (load_i || new_run) run_q <= run_d;
    end
    if (load_i) runs_q <= transfer_i.runs - 16'd1;
    else if (next_i && new_run) runs_q <= runs_q - 16'd1;
  end

  assign valid_o = valid_q;
  assign address_o = address_q;
  assign beats_o = beats_q;
  assign last_o = new_run && runs_q == '0;

  logic unused_region;
  assign unused_region = ^transfer_i.region;

`ifndef SYNTHESIS
  a_block: assert property (@(posedge clk_i) disable iff (!rst_ni)
    valid_q |-> (address_q / 64'(BurstBytes)) == ((address_q + 64'(beats_q) * 64'(BeatBytes) - 64'd1) / 64'(BurstBytes)));
  a_some: assert property (@(posedge clk_i) disable iff (!rst_ni) valid_q |-> beats_q != '0);
`endif

endmodule
