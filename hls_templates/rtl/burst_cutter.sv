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
  logic [11:0] place, next_place_q;  // of the run in 4 KiB: `place` of the one that begins, the other of the one after
  logic [23:0] rest_q, total;  // beats of the run behind this burst, and from the next burst on
  logic [15:0] runs_q;  // runs behind this one
  logic [8:0] beats_q, begun;
  logic [24:0] reach;
  logic new_run, beyond;

  assign new_run = rest_q == '0;
  assign run_d = load_i ? {base_i, 12'b0} + 64'(transfer_i.address) : run_q + 64'(transfer_i.stride);
  // Where a run goes on, its next burst begins at the next block.
  assign address_d = (load_i || new_run) ? run_d : (address_q | 64'(BurstBytes - 1)) + 64'd1;

  // How far the run reaches, in beats from the block's begin. That needs no more of the address than its place in
  // 4 KiB, which is known a run ahead: no sum waits for another.
  assign place = load_i ? transfer_i.address[11:0] : next_place_q;
  assign begun = (load_i || new_run) ? 9'(place >> BeatShift) & 9'(BlockBeats - 1) : '0;
  assign total = (load_i || new_run) ? transfer_i.beats : rest_q;
  assign reach = 25'(total) + 25'(begun);
  assign beyond = reach > 25'(BlockBeats);

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
      beats_q <= beyond ? 9'(BlockBeats) - begun : total[8:0];
      rest_q <= beyond ? 24'(reach - 25'(BlockBeats)) : '0;
      if (load_i || new_run) begin
        run_q <= run_d;
        next_place_q <= place + transfer_i.stride[11:0];
      end
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
