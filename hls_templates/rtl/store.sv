// STORE: feature pages to DRAM (docs/microarchitecture.md, section 7).
//
// Words are read ahead into a queue, so that a beat can be offered in every cycle from the fourth after the start on.
// A burst's address is offered with the beat after the one before it has begun, so that at most two are open.
module store #(
  parameter int unsigned Pages = 2,
  parameter int unsigned Poy = 8,
  parameter int unsigned PageDepth = 512,
  parameter int unsigned WordBytes = 16,
  parameter int unsigned BeatBytes = 16,
  parameter int unsigned BurstBytes = 4096,
  localparam int unsigned PageBits = (Pages > 1) ? $clog2(Pages) : 1,
  localparam int unsigned BankBits = (Poy > 1) ? $clog2(Poy) : 1,
  localparam int unsigned AddressBits = (PageDepth > 1) ? $clog2(PageDepth) : 1
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  // Command: start_i in its first cycle, done_o in its last.
  input  logic                   start_i,
  input  command_pkg::store_t    command_i,
  output logic                   done_o,
  input  logic [3:0][63:12]      base_i,
  // Ask for no more bursts.
  input  logic                   halt_i,
  output logic                   idle_o,
  output logic                   response_error_o,
  // AXI4 write channels, without what is constant.
  output logic                   aw_valid_o,
  input  logic                   aw_ready_i,
  output logic [63:0]            aw_addr_o,
  output logic [7:0]             aw_len_o,
  output logic                   w_valid_o,
  input  logic                   w_ready_i,
  output logic [BeatBytes*8-1:0] w_data_o,
  output logic                   w_last_o,
  input  logic                   b_valid_i,
  input  logic [1:0]             b_resp_i,
  // Copy B of the feature pages.
  output logic                   page_en_o,
  output logic [PageBits-1:0]    page_o,
  output logic [BankBits-1:0]    page_bank_o,
  output logic [AddressBits-1:0] page_addr_o,
  input  logic [WordBytes*8-1:0] page_data_i
);

  import command_pkg::*;

  localparam int unsigned BeatBits = BeatBytes * 8;
  localparam int unsigned WordBits = WordBytes * 8;
  localparam int unsigned BeatsPerWord = WordBytes / BeatBytes;
  localparam int unsigned WordShift = $clog2(BeatsPerWord);
  // A word is read in three cycles, taken in the fourth and its place free in the fifth.
  localparam int unsigned QueueDepth = 8;

  // --- words -------------------------------------------------------------------------------------------------------

  logic reading_q, read, pop;
  logic [2:0] arriving_q;
  logic [23:0] words_q, run_words;  // words left of the run
  logic [15:0] runs_q;
  logic [3:0] room_q;
  logic [2:0] head_q, tail_q;
  logic [WordBits-1:0] queue [QueueDepth];
  logic [3:0] queued_q, place_page;
  logic [7:0] place_bank;
  logic [19:0] place_address;

  assign run_words = command_i.dram.beats >> WordShift;
  assign read = reading_q && room_q != '0;

  word_walk #(
    .Poy(Poy)
  ) u_walk (
    .clk_i,
    .start_i,
    .tile_i(command_i.tile),
    .next_i(read),
    .page_o(place_page),
    .bank_o(place_bank),
    .address_o(place_address)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      reading_q <= 1'b0;
      arriving_q <= '0;
      room_q <= 4'(QueueDepth);
      queued_q <= '0;
      head_q <= '0;
      tail_q <= '0;
    end else begin
      if (start_i) reading_q <= 1'b1;
      else if (read && words_q == 24'd1 && runs_q == 16'd1) reading_q <= 1'b0;
      arriving_q <= {arriving_q[1:0], read};
      room_q <= room_q + 4'(pop) - 4'(read);
      queued_q <= queued_q + 4'(arriving_q[1]) - 4'(pop);
      if (arriving_q[1]) tail_q <= tail_q + 3'd1;
      if (pop) head_q <= head_q + 3'd1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      words_q <= run_words;
      runs_q <= command_i.dram.runs;
    end else if (read) begin
      words_q <= (words_q == 24'd1) ? run_words : words_q - 24'd1;
      if (words_q == 24'd1) runs_q <= runs_q - 16'd1;
    end
    if (arriving_q[1]) queue[tail_q] <= page_data_i;
  end

  assign page_en_o = read;
  assign page_o = PageBits'(place_page);
  assign page_bank_o = BankBits'(place_bank);
  assign page_addr_o = AddressBits'(place_address);

  // --- addresses and beats -----------------------------------------------------------------------------------------

  logic aw_cut_valid, w_cut_valid, aw_cut_last, w_cut_last, aw_done, beat, burst_end, aw_offered_q;
  logic [8:0] aw_beats, w_beats, sent_q;
  logic [63:0] unused_w_address;
  logic signed [2:0] ahead_q;  // addresses taken, less bursts sent

  burst_cutter #(
    .BeatBytes(BeatBytes),
    .BurstBytes(BurstBytes)
  ) u_addresses (
    .clk_i,
    .rst_ni,
    .load_i(start_i),
    .base_i(base_i[command_i.dram.region]),
    .transfer_i(command_i.dram),
    .next_i(aw_done),
    .valid_o(aw_cut_valid),
    .address_o(aw_addr_o),
    .beats_o(aw_beats),
    .last_o(aw_cut_last)
  );

  burst_cutter #(
    .BeatBytes(BeatBytes),
    .BurstBytes(BurstBytes)
  ) u_beats (
    .clk_i,
    .rst_ni,
    .load_i(start_i),
    .base_i('0),
    .transfer_i(command_i.dram),
    .next_i(burst_end),
    .valid_o(w_cut_valid),
    .address_o(unused_w_address),
    .beats_o(w_beats),
    .last_o(w_cut_last)
  );

  // The next address: at once for the first burst, else when the burst before it has begun.
  assign aw_valid_o = aw_cut_valid && (!halt_i || aw_offered_q)
                      && (ahead_q <= 3'sd0 || (ahead_q == 3'sd1 && sent_q != '0));
  assign aw_len_o = 8'(aw_beats - 9'd1);
  assign aw_done = aw_valid_o && aw_ready_i;

  // No beat before its burst's address is offered.
  assign w_valid_o = w_cut_valid && queued_q != '0 && (ahead_q > 3'sd0 || (ahead_q == 3'sd0 && aw_valid_o));
  assign beat = w_valid_o && w_ready_i;
  assign w_last_o = sent_q + 9'd1 == w_beats;
  assign burst_end = beat && w_last_o;

  if (BeatsPerWord > 1) begin : gen_parts
    logic [WordShift-1:0] part_q;
    always_ff @(posedge clk_i) begin
      if (start_i) part_q <= '0;
      else if (beat) part_q <= part_q + WordShift'(1);
    end
    assign pop = beat && part_q == WordShift'(BeatsPerWord - 1);
    assign w_data_o = queue[head_q][part_q*BeatBits +: BeatBits];
  end else begin : gen_whole
    assign pop = beat;
    assign w_data_o = queue[head_q];
  end

  logic [23:0] unanswered_q;  // bursts sent and not yet answered
  logic all_sent_q, done_q, final_response;

  assign final_response = b_valid_i && all_sent_q && unanswered_q == 24'd1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ahead_q <= '0;
      sent_q <= '0;
      aw_offered_q <= 1'b0;
      unanswered_q <= '0;
      all_sent_q <= 1'b0;
      done_q <= 1'b0;
    end else begin
      ahead_q <= ahead_q + 3'(aw_done) - 3'(burst_end);
      if (beat) sent_q <= burst_end ? '0 : sent_q + 9'd1;
      aw_offered_q <= aw_valid_o && !aw_ready_i;
      // Whether a burst ends is known late: it chooses, and no sum waits for it.
      if (burst_end && !b_valid_i) unanswered_q <= unanswered_q + 24'd1;
      else if (b_valid_i && !burst_end) unanswered_q <= unanswered_q - 24'd1;
      if (start_i) all_sent_q <= 1'b0;
      else if (burst_end && w_cut_last) all_sent_q <= 1'b1;
      done_q <= final_response;
    end
  end

  assign done_o = done_q;
  assign idle_o = ahead_q == 3'sd0 && sent_q == '0 && unanswered_q == '0 && !aw_offered_q;
  assign response_error_o = b_valid_i && b_resp_i[1];

  logic unused;
  assign unused = ^{command_i, aw_cut_last, arriving_q[2], b_resp_i[0], unused_w_address};

`ifndef SYNTHESIS
  a_address_stays: assert property (@(posedge clk_i) disable iff (!rst_ni)
    aw_valid_o && !aw_ready_i |=> aw_valid_o && $stable(aw_addr_o) && $stable(aw_len_o));
  a_beat_stays: assert property (@(posedge clk_i) disable iff (!rst_ni)
    w_valid_o && !w_ready_i |=> w_valid_o && $stable(w_data_o) && $stable(w_last_o));
  a_answer_expected: assert property (@(posedge clk_i) disable iff (!rst_ni) b_valid_i |-> unanswered_q != '0);
  a_page: assert property (@(posedge clk_i) disable iff (!rst_ni)
    page_en_o |-> 32'(place_page) < Pages && 32'(place_bank) < Poy && 32'(place_address) < PageDepth)
    else $error("STORE reads page %0d, bank %0d, word %0d", place_page, place_bank, place_address);
`endif

endmodule
