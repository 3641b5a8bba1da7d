// One unit's queue: its program memory, the command that is fetched ahead and the one that waits or is executed
// (docs/microarchitecture.md, section 3).
//
// A command starts in the cycle after the unit's last one has completed and the counts that it waits for are reached. It
// stands on command_o until it completes; meanwhile the next one is fetched, a word a cycle.
module command_queue #(
  // Words of 64 bits of a command, and commands of a program.
  parameter int unsigned Words = 6,
  parameter int unsigned Commands = 1024,
  // Operation codes of the unit's commands, one bit each.
  parameter logic [7:0] Opcodes = 8'b0,
  localparam int unsigned Depth = Words * Commands,
  localparam int unsigned AddressBits = $clog2(Depth)
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  // Program memory.
  input  logic                   w_en_i,
  input  logic [AddressBits-1:0] w_addr_i,
  input  logic [63:0]            w_data_i,
  // Begin an image: fetch the first command again. The program has commands_i of them.
  input  logic                   prime_i,
  input  logic [31:0]            commands_i,
  // The first command is there, or there is none.
  output logic                   primed_o,
  // Commands may start.
  input  logic                   run_i,
  // Commands of this image that LOAD, COMPUTE and STORE have completed: in this cycle, and before.
  input  logic [2:0]             done_i,
  input  logic [2:0][23:0]       completed_i,
  // The unit.
  output logic                   start_o,
  output logic [Words*64-1:0]    command_o,
  input  logic                   unit_done_i,
  output logic                   busy_o,
  // The image's last command has completed.
  output logic                   finished_o,
  output logic                   unknown_o
);

  import command_pkg::*;

  localparam int unsigned IndexBits = $clog2(Words);

  // --- fetch -------------------------------------------------------------------------------------------------------

  logic [AddressBits-1:0] address_q;
  logic [IndexBits-1:0] index_q, index_qq, index_qqq;
  logic [31:0] left_q;  // commands not yet fetched
  logic fetching_q, fetch_q, fetch_qq, staged_q, arrives, full, take;
  logic [Words*64-1:0] staged;
  logic [Words-1:0][63:0] staging_q;
  logic [63:0] word;

  ram_sdp #(
    .Width(64),
    .Depth(Depth),
    .MaskedBits(64)
  ) u_program (
    .clk_i,
    .w_en_i,
    .w_addr_i,
    .w_mask_i(1'b1),
    .w_data_i,
    .r_en_i(fetching_q),
    .r_addr_i(address_q),
    .r_data_o(word)
  );

  // A command is complete with its last word's arrival, before which the others are there.
  assign arrives = fetch_qq && index_qqq == IndexBits'(Words - 1);
  assign staged = {arrives ? word : staging_q[Words-1], staging_q[Words-2:0]};
  assign full = staged_q || arrives;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      fetching_q <= 1'b0;
      fetch_q <= 1'b0;
      fetch_qq <= 1'b0;
      staged_q <= 1'b0;
      left_q <= '0;
      address_q <= '0;
      index_q <= '0;
    end else if (prime_i) begin
      fetching_q <= commands_i != '0;
      fetch_q <= 1'b0;
      fetch_qq <= 1'b0;
      staged_q <= 1'b0;
      left_q <= commands_i - 32'd1;
      address_q <= '0;
      index_q <= '0;
    end else begin
      fetch_q <= fetching_q;
      fetch_qq <= fetch_q;
      staged_q <= full && !take;
      if (fetching_q) begin
        address_q <= address_q + AddressBits'(1);
        index_q <= index_q + IndexBits'(1);
        if (index_q == IndexBits'(Words - 1)) begin
          index_q <= '0;
          fetching_q <= 1'b0;
        end
      end
      if (take && left_q != '0) begin
        fetching_q <= 1'b1;
        left_q <= left_q - 32'd1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    index_qq <= index_q;
    index_qqq <= index_qq;
    for (int unsigned i = 0; i < Words; i++) begin
      if (fetch_qq && index_qqq == IndexBits'(i)) staging_q[i] <= word;
    end
  end

  // --- the command that waits or is executed -----------------------------------------------------------------------

  logic valid_q, running_q, finished_q, last, known;
  logic [Words*64-1:0] command_q;
  header_t header, staged_header;
  logic [2:0][23:0] waits;
  logic signed [24:0] credit_q [3];  // commands completed beyond those waited for

  assign header = header_t'(command_q[$bits(header_t)-1:0]);
  assign staged_header = header_t'(staged[$bits(header_t)-1:0]);
  assign waits = {staged_header.wait_store, staged_header.wait_compute, staged_header.wait_load};
  assign known = Opcodes[header.opcode];
  assign last = header.last;
  assign take = full && (!valid_q || unit_done_i);

  assign start_o = run_i && valid_q && !running_q && known
                   && !credit_q[0][24] && !credit_q[1][24] && !credit_q[2][24];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      running_q <= 1'b0;
      finished_q <= 1'b0;
    end else if (prime_i) begin
      valid_q <= 1'b0;
      running_q <= 1'b0;
      finished_q <= commands_i == '0;
    end else begin
      if (take) valid_q <= 1'b1;
      else if (unit_done_i) valid_q <= 1'b0;
      if (start_o) running_q <= 1'b1;
      else if (unit_done_i) running_q <= 1'b0;
      if (unit_done_i && last) finished_q <= 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) command_q <= staged;
    for (int i = 0; i < 3; i++) begin
      if (take) credit_q[i] <= signed'({1'b0, completed_i[i]} + 25'(done_i[i]) - {1'b0, waits[i]});
      else if (done_i[i]) credit_q[i] <= credit_q[i] + 25'sd1;
    end
  end

  assign command_o = command_q;
  assign primed_o = valid_q || finished_q;
  assign busy_o = start_o || running_q;
  assign finished_o = finished_q;
  assign unknown_o = valid_q && !known;

  logic unused;
  assign unused = ^{header, staged_header};

`ifndef SYNTHESIS
  a_known: assert property (@(posedge clk_i) disable iff (!rst_ni) start_o |-> valid_q && known);
  a_one_at_a_time: assert property (@(posedge clk_i) disable iff (!rst_ni) unit_done_i |-> running_q && !start_o);
  // Fetching costs no cycle: when a command completes, the next one is there.
  a_fetched: assert property (@(posedge clk_i) disable iff (!rst_ni) unit_done_i && !last |-> full);
`endif

endmodule
