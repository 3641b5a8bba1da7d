// Runs the accelerator on files, without a host: for simulation with the clock and the memory inside.
//
// Files and figures are plus-arguments: +program, +weights, +input, +output, +output_bytes, +trace; bases in hex
// (+program_base ...); +images, +input_stride, +output_stride, +watchdog; +timeout in cycles; +waves=FILE writes FST.
// The trace has one line an event of the first image, each with the cycle in which it happens:
//   S unit command cycle            a command starts, D: it completes
//   R cycle address beats           a burst is read, W: written
//   P cycle page bank word mask data  COMPUTE writes a feature word
//   = name value                    a register, in the end
// +start_twice starts while it runs; +reset_after=N resets N cycles after the start and starts again.
// +events=0 leaves all but the registers out.
module harness #(
  // The array: output columns, rows and maps computed at once.
  parameter int unsigned Pox = 8,
  parameter int unsigned Poy = 8,
  parameter int unsigned Pof = 4,
  // Memories: feature pages and words of each bank, weight words of Pof weights, records of one output map.
  parameter int unsigned Pages = 2,
  parameter int unsigned PageDepth = 512,
  parameter int unsigned WeightDepth = 32768,
  parameter int unsigned ParameterDepth = 1024,
  // The bus.
  parameter int unsigned BeatBytes = 16,
  parameter int unsigned BurstBytes = 4096,
  parameter int unsigned Outstanding = 8,
  // Capabilities: what programs may ask for.
  parameter int unsigned KernelColumns = 8,
  parameter int unsigned StrideColumns = 2,
  parameter int unsigned ShortcutStride = 2,
  parameter int unsigned PoolColumns = 8,
  parameter int unsigned PoolStride = 2,
  parameter int unsigned PoolDilation = 1,
  parameter bit RowByRow = 1'b1,
  parameter bit Grouped = 1'b1,
  parameter bit Leaky = 1'b1,
  parameter int unsigned LoadCommands = 1024,
  parameter int unsigned ComputeCommands = 512,
  parameter int unsigned StoreCommands = 512,
  // Bytes of the memory.
  parameter int unsigned MemoryBytes = 1 << 24
);

  import register_pkg::*;

  logic clk, rst_n, irq;
  initial clk = 1'b0;
  always #5 clk = ~clk;

  // --- the accelerator and its memory --------------------------------------------------------------------------------

  logic s_axi_awvalid, s_axi_awready, s_axi_wvalid, s_axi_wready, s_axi_bvalid, s_axi_bready;
  logic s_axi_arvalid, s_axi_arready, s_axi_rvalid, s_axi_rready;
  logic [AddressBits-1:0] s_axi_awaddr, s_axi_araddr;
  logic [31:0] s_axi_wdata, s_axi_rdata;
  logic [3:0] s_axi_wstrb;
  logic [1:0] s_axi_bresp, s_axi_rresp;
  logic m_axi_rd_arvalid, m_axi_rd_arready, m_axi_rd_rvalid, m_axi_rd_rready, m_axi_rd_rlast;
  logic [63:0] m_axi_rd_araddr, m_axi_wr_awaddr;
  logic [7:0] m_axi_rd_arlen, m_axi_wr_awlen;
  logic [2:0] m_axi_rd_arsize, m_axi_rd_arprot, m_axi_wr_awsize, m_axi_wr_awprot;
  logic [1:0] m_axi_rd_arburst, m_axi_wr_awburst, m_axi_rd_rresp, m_axi_wr_bresp;
  logic [3:0] m_axi_rd_arcache, m_axi_wr_awcache;
  logic [BeatBytes*8-1:0] m_axi_rd_rdata, m_axi_wr_wdata;
  logic [BeatBytes-1:0] m_axi_wr_wstrb;
  logic m_axi_wr_awvalid, m_axi_wr_awready, m_axi_wr_wvalid, m_axi_wr_wready, m_axi_wr_wlast;
  logic m_axi_wr_bvalid, m_axi_wr_bready;

  accelerator #(
    .Pox(Pox),
    .Poy(Poy),
    .Pof(Pof),
    .Pages(Pages),
    .PageDepth(PageDepth),
    .WeightDepth(WeightDepth),
    .ParameterDepth(ParameterDepth),
    .BeatBytes(BeatBytes),
    .BurstBytes(BurstBytes),
    .Outstanding(Outstanding),
    .KernelColumns(KernelColumns),
    .StrideColumns(StrideColumns),
    .ShortcutStride(ShortcutStride),
    .PoolColumns(PoolColumns),
    .PoolStride(PoolStride),
    .PoolDilation(PoolDilation),
    .RowByRow(RowByRow),
    .Grouped(Grouped),
    .Leaky(Leaky),
    .LoadCommands(LoadCommands),
    .ComputeCommands(ComputeCommands),
    .StoreCommands(StoreCommands)
  ) u_dut (
    .clk_i(clk),
    .rst_ni(rst_n),
    .irq_o(irq),
    .*
  );

  dram_model #(
    .BeatBytes(BeatBytes),
    .MemoryBytes(MemoryBytes)
  ) u_dram (
    .clk_i(clk),
    .rst_ni(rst_n),
    .ar_valid_i(m_axi_rd_arvalid),
    .ar_ready_o(m_axi_rd_arready),
    .ar_addr_i(m_axi_rd_araddr),
    .ar_len_i(m_axi_rd_arlen),
    .r_valid_o(m_axi_rd_rvalid),
    .r_ready_i(m_axi_rd_rready),
    .r_data_o(m_axi_rd_rdata),
    .r_resp_o(m_axi_rd_rresp),
    .r_last_o(m_axi_rd_rlast),
    .aw_valid_i(m_axi_wr_awvalid),
    .aw_ready_o(m_axi_wr_awready),
    .aw_addr_i(m_axi_wr_awaddr),
    .aw_len_i(m_axi_wr_awlen),
    .w_valid_i(m_axi_wr_wvalid),
    .w_ready_o(m_axi_wr_wready),
    .w_data_i(m_axi_wr_wdata),
    .w_last_i(m_axi_wr_wlast),
    .b_valid_o(m_axi_wr_bvalid),
    .b_ready_i(m_axi_wr_bready),
    .b_resp_o(m_axi_wr_bresp)
  );

  // --- the host ------------------------------------------------------------------------------------------------------

  // The host drives and looks between the clock's edges, after what depends on its signals has settled.
  task automatic write_register(logic [AddressBits-1:0] address, logic [31:0] value);
    @(negedge clk);
    s_axi_awvalid = 1'b1;
    s_axi_awaddr = address;
    s_axi_wvalid = 1'b1;
    s_axi_wdata = value;
    #1;
    while (!s_axi_awready) begin
      @(negedge clk);
      #1;
    end
    @(negedge clk);
    s_axi_awvalid = 1'b0;
    s_axi_wvalid = 1'b0;
  endtask

  task automatic write_long(logic [AddressBits-1:0] address, longint unsigned value);
    write_register(address, value[31:0]);
    write_register(address + AddressBits'(4), value[63:32]);
  endtask

  task automatic read_register(logic [AddressBits-1:0] address, output logic [31:0] value);
    @(negedge clk);
    s_axi_arvalid = 1'b1;
    s_axi_araddr = address;
    #1;
    while (!s_axi_arready) begin
      @(negedge clk);
      #1;
    end
    @(negedge clk);
    s_axi_arvalid = 1'b0;
    while (!s_axi_rvalid) @(negedge clk);
    value = s_axi_rdata;
  endtask

  int trace, events_wanted, reset_after;
  bit events;

  task automatic report(string name, logic [AddressBits-1:0] address, bit long_value);
    logic [31:0] low, high;
    high = '0;
    read_register(address, low);
    if (long_value) read_register(address + AddressBits'(4), high);
    if (trace != 0) $fwrite(trace, "= %s %0d\n", name, {high, low});
  endtask

  task automatic load_image(string name, longint unsigned address);
    string file;
    if ($value$plusargs({name, "=%s"}, file)) begin
      if (u_dram.load_file(file, address) < 0) $fatal(1, "cannot read %s", file);
    end
  endtask

  task automatic report_all();
    report("status", AddressStatus, 0);
    report("error", AddressError, 0);
    report("images_done", AddressImagesDone, 0);
    report("cycles", AddressCycles, 1);
    report("busy_load", AddressBusyLoad, 1);
    report("busy_compute", AddressBusyCompute, 1);
    report("busy_store", AddressBusyStore, 1);
    report("hold", AddressHold, 1);
    report("read_bytes", AddressReadBytes, 1);
    report("write_bytes", AddressWriteBytes, 1);
    report("saturated", AddressSaturated, 1);
    if (trace != 0) $fwrite(trace, "= elapsed %0d\n", elapsed_run);
  endtask

  longint unsigned program_base, parameter_base, input_base, output_base, feature_base;
  longint unsigned input_stride, output_stride, images, watchdog, output_bytes, started;
  string file_name;

  initial begin
    rst_n = 1'b0;
    program_base = 0;
    parameter_base = 0;
    input_base = 0;
    output_base = 0;
    feature_base = 0;
    input_stride = 0;
    output_stride = 0;
    output_bytes = 0;
    images = 1;
    watchdog = 0;
    trace = 0;
    void'($value$plusargs("program_base=%h", program_base));
    void'($value$plusargs("parameter_base=%h", parameter_base));
    void'($value$plusargs("input_base=%h", input_base));
    void'($value$plusargs("output_base=%h", output_base));
    void'($value$plusargs("feature_base=%h", feature_base));
    void'($value$plusargs("input_stride=%d", input_stride));
    void'($value$plusargs("output_stride=%d", output_stride));
    void'($value$plusargs("output_bytes=%d", output_bytes));
    void'($value$plusargs("images=%d", images));
    void'($value$plusargs("watchdog=%d", watchdog));
    if ($value$plusargs("trace=%s", file_name)) trace = $fopen(file_name, "w");
    events_wanted = 1;
    void'($value$plusargs("events=%d", events_wanted));
    events = trace != 0 && events_wanted != 0;
    load_image("program", program_base);
    load_image("weights", parameter_base);
    load_image("input", input_base);
    s_axi_awvalid = 1'b0;
    s_axi_wvalid = 1'b0;
    s_axi_wstrb = '1;
    s_axi_bready = 1'b1;
    s_axi_arvalid = 1'b0;
    s_axi_rready = 1'b1;
    repeat (4) @(negedge clk);
    rst_n = 1'b1;
    write_register(AddressIrqEnable, 32'd3);
    write_register(AddressImages, images[31:0]);
    write_register(AddressWatchdog, watchdog[31:0]);
    write_long(AddressProgramBase, program_base);
    write_long(AddressParameterBase, parameter_base);
    write_long(AddressInputBase, input_base);
    write_long(AddressOutputBase, output_base);
    write_long(AddressFeatureBase, feature_base);
    write_long(AddressInputStride, input_stride);
    write_long(AddressOutputStride, output_stride);
    write_register(AddressCtrl, 32'd2);
    repeat (4) @(negedge clk);
    while (!u_dut.status_idle && !u_dut.status_error) @(negedge clk);
    if (!u_dut.status_error) begin
      write_register(AddressCtrl, 32'd1);
      if ($test$plusargs("start_twice")) begin
        repeat (300) @(negedge clk);
        write_register(AddressCtrl, 32'd1);
      end
      if ($value$plusargs("reset_after=%d", reset_after)) begin
        repeat (reset_after) @(negedge clk);
        write_register(AddressCtrl, 32'd4);
        while (!u_dut.status_idle) @(negedge clk);
        write_register(AddressIrqStatus, 32'd3);
        write_register(AddressCtrl, 32'd1);
      end
      while (!irq) @(negedge clk);
    end
    // After an error, open bursts come to their end first, if the memory answers.
    repeat (1000) if (!u_dut.status_idle) @(negedge clk);
    report_all();
    if ($value$plusargs("output=%s", file_name)) u_dram.save_file(file_name, output_base, output_bytes);
    if (trace != 0) $fclose(trace);
    $finish;
  end

  longint unsigned timeout, elapsed;
  initial begin
    timeout = 64'd20_000_000;
    void'($value$plusargs("timeout=%d", timeout));
    if ($value$plusargs("waves=%s", file_name)) begin
      $dumpfile(file_name);
      $dumpvars(0, u_dut);
    end
  end
  always @(posedge clk) begin
    elapsed <= rst_n ? elapsed + 1 : 0;
    if (elapsed == timeout) $fatal(1, "no end after %0d cycles", timeout);
  end

  // --- trace ---------------------------------------------------------------------------------------------------------

  // Cycles from the first image's first to the last image's last.
  longint unsigned elapsed_run, last_run;
  always @(posedge clk) begin
    if (!rst_n || u_dut.prime && u_dut.images_done == 0) begin
      elapsed_run <= 0;
      last_run <= 0;
    end else if (u_dut.run || last_run != 0) begin
      last_run <= last_run + 1;
      if (u_dut.run && !(&u_dut.finished)) elapsed_run <= last_run + 1;
    end
  end

  longint unsigned cycle;
  assign cycle = u_dut.u_control.cycles_q;

  always @(posedge clk) begin
    if (events && u_dut.run && u_dut.images_done == 0) begin
      for (int unit = 0; unit < 3; unit++) begin
        if (u_dut.start[unit]) $fwrite(trace, "S %0d %0d %0d\n", unit, u_dut.completed[unit], cycle);
        if (u_dut.unit_done[unit]) $fwrite(trace, "D %0d %0d %0d\n", unit, u_dut.completed[unit], cycle);
      end
      if (m_axi_rd_arvalid && m_axi_rd_arready) begin
        $fwrite(trace, "R %0d %0d %0d\n", cycle, m_axi_rd_araddr, 9'(m_axi_rd_arlen) + 9'd1);
      end
      if (m_axi_wr_awvalid && m_axi_wr_awready) begin
        $fwrite(trace, "W %0d %0d %0d\n", cycle, m_axi_wr_awaddr, 9'(m_axi_wr_awlen) + 9'd1);
      end
      if (u_dut.result_en) begin
        $fwrite(trace, "P %0d %0d %0d %0d %h %h\n", cycle, u_dut.result_page, u_dut.result_bank,
                u_dut.result_addr, u_dut.result_mask, u_dut.result_data);
      end
    end
  end

endmodule
