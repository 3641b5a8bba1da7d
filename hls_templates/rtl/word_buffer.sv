// The weight or parameter buffer: written by whole AXI beats, read by words of its own.
//
// A beat that holds several words is one word of the memory, and the word that is read is selected behind it. Where a word
// takes several beats, each beat is written under its own mask bit.
module word_buffer #(
  parameter int unsigned WordBits = 32,
  parameter int unsigned Depth = 32768,
  parameter int unsigned BeatBits = 128,
  localparam int unsigned WordsPerBeat = (BeatBits > WordBits) ? BeatBits / WordBits : 1,
  localparam int unsigned BeatsPerWord = (WordBits > BeatBits) ? WordBits / BeatBits : 1,
  localparam int unsigned Rows = (Depth + WordsPerBeat - 1) / WordsPerBeat,
  localparam int unsigned Beats = Rows * BeatsPerWord,
  localparam int unsigned BeatAddressBits = (Beats > 1) ? $clog2(Beats) : 1,
  localparam int unsigned AddressBits = (Depth > 1) ? $clog2(Depth) : 1
) (
  input  logic                       clk_i,
  input  logic                       w_en_i,
  input  logic [BeatAddressBits-1:0] w_beat_i,
  input  logic [BeatBits-1:0]        w_data_i,
  input  logic                       r_en_i,
  input  logic [AddressBits-1:0]     r_addr_i,
  output logic [WordBits-1:0]        r_data_o
);

  localparam int unsigned RowBits = (Rows > 1) ? $clog2(Rows) : 1;
  localparam int unsigned Width = WordsPerBeat * WordBits;

  logic [RowBits-1:0] w_row, r_row;
  logic [Width-1:0] row;
  logic [BeatsPerWord-1:0] mask;

  if (BeatsPerWord > 1) begin : gen_narrow_beat
    localparam int unsigned PartBits = $clog2(BeatsPerWord);
    assign w_row = RowBits'(w_beat_i >> PartBits);
    assign mask = BeatsPerWord'(1) << w_beat_i[PartBits-1:0];
  end else begin : gen_wide_beat
    assign w_row = RowBits'(w_beat_i);
    assign mask = 1'b1;
  end

  if (WordsPerBeat > 1) begin : gen_select
    localparam int unsigned SelectBits = $clog2(WordsPerBeat);
    logic [SelectBits-1:0] select_q, select_qq;
    assign r_row = RowBits'(r_addr_i >> SelectBits);
    always_ff @(posedge clk_i) begin
      select_q <= r_addr_i[SelectBits-1:0];
      select_qq <= select_q;
    end
    assign r_data_o = row[select_qq*WordBits +: WordBits];
  end else begin : gen_whole
    assign r_row = r_addr_i;
    assign r_data_o = row;
  end

  ram_sdp #(
    .Width(Width),
    .Depth(Rows),
    .MaskedBits(Width / BeatsPerWord)
  ) u_ram (
    .clk_i,
    .w_en_i,
    .w_addr_i(w_row),
    .w_mask_i(mask),
    .w_data_i({BeatsPerWord{w_data_i}}),
    .r_en_i,
    .r_addr_i(r_row),
    .r_data_o(row)
  );

endmodule
