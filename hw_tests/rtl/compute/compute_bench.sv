// Runs COMPUTE commands one after the other on memories that are loaded from files.
//
// +cases=FOLDER +count=N: case i has its words in i.page.hex ([page][bank][word]), i.weight.hex, i.parameter.hex and
// its command in i.command.hex; the pages that it leaves behind are written to i.out.hex, and a line
// "cycles saturated held" to results.txt. A case starts in the cycle after the one before has completed.
module compute_bench #(
  parameter int unsigned Pox = 8,
  parameter int unsigned Poy = 8,
  parameter int unsigned Pof = 4,
  parameter int unsigned Pages = 2,
  parameter int unsigned PageDepth = 512,
  parameter int unsigned WeightDepth = 4096,
  parameter int unsigned ParameterDepth = 128,
  parameter int unsigned KernelColumns = 8,
  parameter int unsigned StrideColumns = 2,
  parameter int unsigned ShortcutStride = 2,
  parameter int unsigned PoolColumns = 16,
  parameter int unsigned PoolStride = 2,
  parameter int unsigned PoolDilation = 1
) ();

  localparam int unsigned WordPixels = 2 * Pox;
  localparam int unsigned WordWidth = WordPixels * 8;
  localparam int unsigned PageWidth = Pages > 1 ? $clog2(Pages) : 1;
  localparam int unsigned BankWidth = Poy > 1 ? $clog2(Poy) : 1;
  localparam int unsigned AddressWidth = $clog2(PageDepth);
  localparam int unsigned WeightAddressWidth = $clog2(WeightDepth);
  localparam int unsigned ParameterAddressWidth = $clog2(ParameterDepth);
  localparam int unsigned CountWidth = $clog2(Pox + 1);
  localparam int unsigned PageWords = Pages * Poy * PageDepth;

  logic clk = 1'b0;
  logic rst_n = 1'b0;
  logic start = 1'b0;
  logic [1023:0] command[1];

  logic done, hold;
  logic [Poy-1:0] a_en;
  logic [PageWidth-1:0] a_page, b_page, w_page;
  logic [Poy-1:0][AddressWidth-1:0] a_addr;
  logic [Poy-1:0][WordWidth-1:0] a_data, a_word;
  logic b_en, w_en, wt_en, pr_en;
  logic [BankWidth-1:0] b_bank, w_bank;
  logic [AddressWidth-1:0] b_addr, w_addr;
  logic [WordWidth-1:0] b_data, b_word, w_data;
  logic [WordPixels-1:0] w_be;
  logic [WeightAddressWidth-1:0] wt_addr;
  logic [Pof*8-1:0] wt_data, wt_word;
  logic [ParameterAddressWidth-1:0] pr_addr;
  logic [31:0] pr_data, pr_word;
  logic [CountWidth-1:0] saturated;

  compute #(
    .Pox(Pox),
    .Poy(Poy),
    .Pof(Pof),
    .Pages(Pages),
    .PageDepth(PageDepth),
    .WeightDepth(WeightDepth),
    .ParameterDepth(ParameterDepth),
    .KernelColumns(KernelColumns),
    .StrideColumns(StrideColumns),
    .ShortcutStride(ShortcutStride),
    .PoolColumns(PoolColumns),
    .PoolStride(PoolStride),
    .PoolDilation(PoolDilation)
  ) u_compute (
    .clk_i(clk),
    .rst_ni(rst_n),
    .start_i(start),
    .command_i(command[0]),
    .done_o(done),
    .a_en_o(a_en),
    .a_page_o(a_page),
    .a_addr_o(a_addr),
    .a_data_i(a_data),
    .b_en_o(b_en),
    .b_page_o(b_page),
    .b_bank_o(b_bank),
    .b_addr_o(b_addr),
    .b_data_i(b_data),
    .w_en_o(w_en),
    .w_page_o(w_page),
    .w_bank_o(w_bank),
    .w_addr_o(w_addr),
    .w_be_o(w_be),
    .w_data_o(w_data),
    .wt_en_o(wt_en),
    .wt_addr_o(wt_addr),
    .wt_data_i(wt_data),
    .pr_en_o(pr_en),
    .pr_addr_o(pr_addr),
    .pr_data_i(pr_data),
    .saturated_o(saturated),
    .hold_o(hold)
  );

  // ---- memories: an enabled read, then an output register that always follows ----
  logic [WordWidth-1:0] page_mem[PageWords];
  logic [Pof*8-1:0] weight_mem[WeightDepth];
  logic [31:0] parameter_mem[ParameterDepth];

  function automatic int unsigned place(input logic [PageWidth-1:0] page, input logic [BankWidth-1:0] bank,
                                        input logic [AddressWidth-1:0] address);
    return (int'(page) * Poy + int'(bank)) * PageDepth + int'(address);
  endfunction

  always_ff @(posedge clk) begin
    for (int unsigned b = 0; b < Poy; b++) begin
      if (a_en[b]) a_word[b] <= page_mem[place(a_page, BankWidth'(b), a_addr[b])];
    end
    if (b_en) b_word <= page_mem[place(b_page, b_bank, b_addr)];
    if (wt_en) wt_word <= weight_mem[wt_addr];
    if (pr_en) pr_word <= parameter_mem[pr_addr];
    a_data <= a_word;
    b_data <= b_word;
    wt_data <= wt_word;
    pr_data <= pr_word;
    if (w_en) begin
      for (int unsigned i = 0; i < WordPixels; i++) begin
        if (w_be[i]) page_mem[place(w_page, w_bank, w_addr)][8*i+:8] = w_data[8*i+:8];
      end
    end
  end

  logic running = 1'b0;

  always_ff @(posedge clk) begin
    if (rst_n && !running && !start && (w_en || (|a_en) || b_en || wt_en || pr_en)) begin
      $fatal(1, "a memory is accessed while no command is executed");
    end
  end

  // ---- cases ----
  string folder;
  int unsigned count, cycles, held, clipped;
  int results;

  task automatic tick;
    #1 clk = 1'b1;
    #1 clk = 1'b0;
  endtask

  initial begin
    if (!$value$plusargs("cases=%s", folder) || !$value$plusargs("count=%d", count)) $fatal(1, "+cases and +count");
    results = $fopen({folder, "/results.txt"}, "w");
    for (int unsigned i = 0; i < 4; i++) tick();
    rst_n = 1'b1;
    for (int unsigned i = 0; i < 4; i++) tick();
    for (int unsigned i = 0; i < count; i++) begin
      $readmemh($sformatf("%s/%0d.page.hex", folder, i), page_mem);
      $readmemh($sformatf("%s/%0d.weight.hex", folder, i), weight_mem);
      $readmemh($sformatf("%s/%0d.parameter.hex", folder, i), parameter_mem);
      $readmemh($sformatf("%s/%0d.command.hex", folder, i), command);
      start = 1'b1;
      running = 1'b1;
      {cycles, held, clipped} = '0;
      #0;
      while (1) begin
        logic finished;
        finished = done;
        cycles++;
        held += 32'(hold);
        clipped += 32'(saturated);
        if (cycles > 2000000) $fatal(1, "case %0d does not end", i);
        tick();
        start = 1'b0;
        if (finished) break;
        #0;
      end
      running = 1'b0;
      #0;
      $writememh($sformatf("%s/%0d.out.hex", folder, i), page_mem);
      $fdisplay(results, "%0d %0d %0d", cycles, clipped, held);
    end
    for (int unsigned i = 0; i < 40; i++) tick();
    $fclose(results);
    $finish;
  end

endmodule
