// The feature pages: Poy banks each, in two copies that are written together and read apart.
//
// Copy A reads one word of every bank of a page for the array. Copy B reads one word of one bank, for the drain or for
// STORE. The drain and LOAD write. No port has an arbiter: a schedule's waits keep two units off the same port of a page.
module feature_pages #(
  parameter int unsigned Pages = 2,
  parameter int unsigned Poy = 8,
  parameter int unsigned Depth = 512,
  parameter int unsigned WordBytes = 16,
  localparam int unsigned PageBits = (Pages > 1) ? $clog2(Pages) : 1,
  localparam int unsigned BankBits = (Poy > 1) ? $clog2(Poy) : 1,
  localparam int unsigned AddressBits = (Depth > 1) ? $clog2(Depth) : 1
) (
  input  logic                            clk_i,
  // Copy A: the array.
  input  logic [Poy-1:0]                  a_en_i,
  input  logic [PageBits-1:0]             a_page_i,
  input  logic [Poy-1:0][AddressBits-1:0] a_addr_i,
  output logic [Poy-1:0][WordBytes*8-1:0] a_data_o,
  // Copy B: the drain.
  input  logic                            drain_en_i,
  input  logic [PageBits-1:0]             drain_page_i,
  input  logic [BankBits-1:0]             drain_bank_i,
  input  logic [AddressBits-1:0]          drain_addr_i,
  output logic [WordBytes*8-1:0]          drain_data_o,
  // Copy B: STORE.
  input  logic                            store_en_i,
  input  logic [PageBits-1:0]             store_page_i,
  input  logic [BankBits-1:0]             store_bank_i,
  input  logic [AddressBits-1:0]          store_addr_i,
  output logic [WordBytes*8-1:0]          store_data_o,
  // Writes of the drain.
  input  logic                            result_en_i,
  input  logic [PageBits-1:0]             result_page_i,
  input  logic [BankBits-1:0]             result_bank_i,
  input  logic [AddressBits-1:0]          result_addr_i,
  input  logic [WordBytes-1:0]            result_mask_i,
  input  logic [WordBytes*8-1:0]          result_data_i,
  // Writes of LOAD.
  input  logic                            load_en_i,
  input  logic [PageBits-1:0]             load_page_i,
  input  logic [BankBits-1:0]             load_bank_i,
  input  logic [AddressBits-1:0]          load_addr_i,
  input  logic [WordBytes-1:0]            load_mask_i,
  input  logic [WordBytes*8-1:0]          load_data_i
);

  localparam int unsigned WordBits = WordBytes * 8;

  logic [WordBits-1:0] a_word [Pages][Poy];
  logic [WordBits-1:0] b_word [Pages][Poy];

  // Page and bank of the words that are on their way.
  logic [PageBits-1:0] a_page_q, a_page_qq, drain_page_q, drain_page_qq, store_page_q, store_page_qq;
  logic [BankBits-1:0] drain_bank_q, drain_bank_qq, store_bank_q, store_bank_qq;

  always_ff @(posedge clk_i) begin
    a_page_q <= a_page_i;
    a_page_qq <= a_page_q;
    drain_page_q <= drain_page_i;
    drain_page_qq <= drain_page_q;
    store_page_q <= store_page_i;
    store_page_qq <= store_page_q;
    drain_bank_q <= drain_bank_i;
    drain_bank_qq <= drain_bank_q;
    store_bank_q <= store_bank_i;
    store_bank_qq <= store_bank_q;
  end

  for (genvar bank = 0; bank < int'(Poy); bank++) begin : gen_read
    assign a_data_o[bank] = a_word[a_page_qq][bank];
  end
  assign drain_data_o = b_word[drain_page_qq][drain_bank_qq];
  assign store_data_o = b_word[store_page_qq][store_bank_qq];

  for (genvar page = 0; page < int'(Pages); page++) begin : gen_page
    logic result_here, load_here, drain_here, store_here, a_here;
    logic [BankBits-1:0] w_bank, b_bank;
    logic [AddressBits-1:0] w_addr, b_addr;
    logic [WordBytes-1:0] w_mask;
    logic [WordBits-1:0] w_data;

    assign a_here = a_page_i == PageBits'(page);
    assign result_here = result_en_i && result_page_i == PageBits'(page);
    assign load_here = load_en_i && load_page_i == PageBits'(page);
    assign drain_here = drain_en_i && drain_page_i == PageBits'(page);
    assign store_here = store_en_i && store_page_i == PageBits'(page);
    assign w_bank = result_here ? result_bank_i : load_bank_i;
    assign w_addr = result_here ? result_addr_i : load_addr_i;
    assign w_mask = result_here ? result_mask_i : load_mask_i;
    assign w_data = result_here ? result_data_i : load_data_i;
    assign b_bank = drain_here ? drain_bank_i : store_bank_i;
    assign b_addr = drain_here ? drain_addr_i : store_addr_i;

    for (genvar bank = 0; bank < int'(Poy); bank++) begin : gen_bank
      logic w_en, b_en;
      assign w_en = (result_here || load_here) && w_bank == BankBits'(bank);
      assign b_en = (drain_here || store_here) && b_bank == BankBits'(bank);

      ram_sdp #(
        .Width(WordBits),
        .Depth(Depth)
      ) u_copy_a (
        .clk_i,
        .w_en_i(w_en),
        .w_addr_i(w_addr),
        .w_mask_i(w_mask),
        .w_data_i(w_data),
        .r_en_i(a_en_i[bank] && a_here),
        .r_addr_i(a_addr_i[bank]),
        .r_data_o(a_word[page][bank])
      );

      ram_sdp #(
        .Width(WordBits),
        .Depth(Depth)
      ) u_copy_b (
        .clk_i,
        .w_en_i(w_en),
        .w_addr_i(w_addr),
        .w_mask_i(w_mask),
        .w_data_i(w_data),
        .r_en_i(b_en),
        .r_addr_i(b_addr),
        .r_data_o(b_word[page][bank])
      );
    end

`ifndef SYNTHESIS
    a_one_write: assert property (@(posedge clk_i) !(result_here && load_here))
      else $error("page %0d: the drain and LOAD write in one cycle", page);
    a_one_read: assert property (@(posedge clk_i) !(drain_here && store_here))
      else $error("page %0d: the drain and STORE read copy B in one cycle", page);
`endif
  end

endmodule
