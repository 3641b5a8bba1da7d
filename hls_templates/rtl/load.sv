// LOAD: DRAM to the feature pages, the weight buffer or the parameter buffer (docs/microarchitecture.md, section 4).
//
// Addresses and data move apart: bursts are requested as fast as the window of open ones allows, and every beat that
// arrives is written in the cycle after. The unit is always ready for a beat.
module load #(
  parameter int unsigned Pages = 2,
  parameter int unsigned Poy = 8,
  parameter int unsigned PageDepth = 512,
  parameter int unsigned WordBytes = 16,
  parameter int unsigned WeightBits = 32,
  parameter int unsigned RecordBits = 32,
  parameter int unsigned BeatBytes = 16,
  parameter int unsigned BurstBytes = 4096,
  // Bursts that may be open at once.
  parameter int unsigned Outstanding = 8,
  localparam int unsigned PageBits = (Pages > 1) ? $clog2(Pages) : 1,
  localparam int unsigned BankBits = (Poy > 1) ? $clog2(Poy) : 1,
  localparam int unsigned AddressBits = (PageDepth > 1) ? $clog2(PageDepth) : 1
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  // Command: start_i in its first cycle, done_o in its last.
  input  logic                   start_i,
  input  command_pkg::load_t     command_i,
  output logic                   done_o,
  // High while LOAD fetches for the program loader: from its base, and beats are flagged by program_en_o alone.
  input  logic                   program_i,
  input  logic [63:12]           program_base_i,
  input  logic [3:0][63:12]      base_i,
  // Ask for no more bursts.
  input  logic                   halt_i,
  output logic                   idle_o,
  output logic                   response_error_o,
  output logic                   last_error_o,
  // AXI4 read channels, without what is constant.
  output logic                   ar_valid_o,
  input  logic                   ar_ready_i,
  output logic [63:0]            ar_addr_o,
  output logic [7:0]             ar_len_o,
  input  logic                   r_valid_i,
  input  logic [BeatBytes*8-1:0] r_data_i,
  input  logic [1:0]             r_resp_i,
  input  logic                   r_last_i,
  // Feature pages.
  output logic                   page_en_o,
  output logic [PageBits-1:0]    page_o,
  output logic [BankBits-1:0]    page_bank_o,
  output logic [AddressBits-1:0] page_addr_o,
  output logic [WordBytes-1:0]   page_mask_o,
  output logic [WordBytes*8-1:0] page_data_o,
  // Weight and parameter buffers, by beats, and the program loader.
  output logic                   weight_en_o,
  output logic                   parameter_en_o,
  output logic                   program_en_o,
  output logic [23:0]            beat_o,
  output logic [BeatBytes*8-1:0] beat_data_o
);

  import command_pkg::*;

  localparam int unsigned BeatBits = BeatBytes * 8;
  localparam int unsigned BeatsPerWord = WordBytes / BeatBytes;
  localparam int unsigned SlotBits = (Outstanding > 1) ? $clog2(Outstanding) : 1;
  localparam int unsigned OpenBits = $clog2(Outstanding + 1);

  typedef enum logic [1:0] {
    BufferFeature = 2'd0,
    BufferWeight = 2'd1,
    BufferParameter = 2'd2
  } buffer_e;

  // The number of the beat that begins with word `word` of `bits` bits.
  function automatic logic [23:0] beat_of(logic [23:0] word, int unsigned bits);
    return (bits > BeatBits) ? word << $clog2(bits / BeatBits) : word >> $clog2(BeatBits / bits);
  endfunction

  // --- addresses ---------------------------------------------------------------------------------------------------

  logic cut_valid, cut_last, ar_done, offered_q;
  logic [8:0] cut_beats;
  logic [OpenBits-1:0] open_q;

  burst_cutter #(
    .BeatBytes(BeatBytes),
    .BurstBytes(BurstBytes)
  ) u_cutter (
    .clk_i,
    .rst_ni,
    .load_i(start_i),
    .base_i(program_i ? program_base_i : base_i[command_i.dram.region]),
    .transfer_i(command_i.dram),
    .next_i(ar_done),
    .valid_o(cut_valid),
    .address_o(ar_addr_o),
    .beats_o(cut_beats),
    .last_o(cut_last)
  );

  // What was offered stays until it is taken.
  assign ar_valid_o = cut_valid && open_q < OpenBits'(Outstanding) && (!halt_i || offered_q);
  assign ar_len_o = 8'(cut_beats - 9'd1);
  assign ar_done = ar_valid_o && ar_ready_i;

  // --- beats -------------------------------------------------------------------------------------------------------

  logic [8:0] length [Outstanding];  // beats of every open burst
  logic [SlotBits-1:0] newest_q, oldest_q;
  logic [8:0] received_q;
  logic beat, burst_end, final_beat, final_q, done_q;

  assign beat = r_valid_i && open_q != '0;
  assign burst_end = beat && received_q + 9'd1 == length[oldest_q];
  assign final_beat = burst_end && open_q == OpenBits'(1) && !cut_valid;

  function automatic logic [SlotBits-1:0] following(logic [SlotBits-1:0] slot);
    return (slot == SlotBits'(Outstanding - 1)) ? '0 : slot + SlotBits'(1);
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      open_q <= '0;
      newest_q <= '0;
      oldest_q <= '0;
      received_q <= '0;
      offered_q <= 1'b0;
      final_q <= 1'b0;
      done_q <= 1'b0;
    end else begin
      open_q <= open_q + OpenBits'(ar_done) - OpenBits'(burst_end);
      if (ar_done) newest_q <= following(newest_q);
      if (burst_end) oldest_q <= following(oldest_q);
      if (beat) received_q <= burst_end ? '0 : received_q + 9'd1;
      offered_q <= ar_valid_o && !ar_ready_i;
      final_q <= final_beat;
      done_q <= final_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (ar_done) length[newest_q] <= cut_beats;
  end

  assign done_o = done_q;
  assign idle_o = open_q == '0 && !offered_q;
  assign response_error_o = beat && r_resp_i[1];
  assign last_error_o = r_valid_i && r_last_i != burst_end;

  // --- writes ------------------------------------------------------------------------------------------------------

  logic write_q;
  logic [BeatBits-1:0] data_q;
  logic [23:0] beat_q;
  logic word_end, feature;
  logic [3:0] place_page;
  logic [7:0] place_bank;
  logic [19:0] place_address;

  assign feature = command_i.buffer == BufferFeature && !program_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) write_q <= 1'b0;
    else write_q <= beat;
  end

  always_ff @(posedge clk_i) begin
    data_q <= r_data_i;
    if (start_i) begin
      if (command_i.buffer == BufferWeight) beat_q <= beat_of(command_i.word, WeightBits);
      else beat_q <= beat_of(command_i.word, RecordBits);
    end else if (write_q) begin
      beat_q <= beat_q + 24'd1;
    end
  end

  if (BeatsPerWord > 1) begin : gen_parts
    localparam int unsigned PartBits = $clog2(BeatsPerWord);
    logic [PartBits-1:0] part_q;
    always_ff @(posedge clk_i) begin
      if (start_i) part_q <= '0;
      else if (write_q) part_q <= part_q + PartBits'(1);
    end
    assign word_end = part_q == PartBits'(BeatsPerWord - 1);
    assign page_mask_o = WordBytes'({BeatBytes{1'b1}}) << (32'(part_q) * BeatBytes);
  end else begin : gen_whole
    assign word_end = 1'b1;
    assign page_mask_o = '1;
  end

  word_walk #(
    .Poy(Poy)
  ) u_walk (
    .clk_i,
    .start_i,
    .tile_i(command_i.tile),
    .next_i(write_q && word_end && feature),
    .page_o(place_page),
    .bank_o(place_bank),
    .address_o(place_address)
  );

  assign page_en_o = write_q && feature;
  assign page_o = PageBits'(place_page);
  assign page_bank_o = BankBits'(place_bank);
  assign page_addr_o = AddressBits'(place_address);
  assign page_data_o = {BeatsPerWord{data_q}};
  assign weight_en_o = write_q && command_i.buffer == BufferWeight && !program_i;
  assign parameter_en_o = write_q && command_i.buffer == BufferParameter && !program_i;
  assign program_en_o = write_q && program_i;
  assign beat_o = beat_q;
  assign beat_data_o = data_q;

  logic unused;
  assign unused = ^{command_i, cut_last, r_resp_i[0], place_page, place_bank, place_address};

`ifndef SYNTHESIS
  a_offer_stays: assert property (@(posedge clk_i) disable iff (!rst_ni)
    ar_valid_o && !ar_ready_i |=> ar_valid_o && $stable(ar_addr_o) && $stable(ar_len_o));
  a_page: assert property (@(posedge clk_i) disable iff (!rst_ni)
    page_en_o |-> 32'(place_page) < Pages && 32'(place_bank) < Poy && 32'(place_address) < PageDepth)
    else $error("LOAD writes page %0d, bank %0d, word %0d", place_page, place_bank, place_address);
`endif

endmodule
