// The accelerator on a simulated board: clock, memory, and a host at the other end of two pipes (host_bridge.cpp).
//
// +requests=PIPE and +replies=PIPE name them. Between two requests simulated time stands still. What a request asks for,
// operation_e says; without pipes nothing happens. A trace has one line an event of the first image of a start, each with
// the cycle in which it happens:
//   S unit command cycle            a command starts, D: it completes
//   R cycle address beats           a burst is read, W: written
//   P cycle page bank word mask data  COMPUTE writes a feature word
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
  parameter int unsigned PoolColumns = 16,
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
    .stall_i(stall),
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

  typedef enum longint unsigned {
    OpWriteRegister = 1,  // address, value
    OpReadRegister = 2,  // address; answers its value
    OpWriteMemory = 3,  // address, number of bytes, the bytes
    OpReadMemory = 4,  // address, number of bytes; answers the number and the bytes
    OpWait = 5,  // until an interrupt, but no longer than value cycles; answers 1 if there is one
    OpClock = 6,  // value cycles
    OpFigure = 7,  // address is the value, and value bytes the name: a figure or fault of the memory, or of this bench
    OpTrace = 8,  // into the file of that name; none: not any more
    OpStalls = 9,  // the stall trace in the file of that name; none: no stalls
    OpWaves = 10,  // into the file of that name, from cycle wave_from on; wave_to ends the simulation
    OpElapsed = 11  // answers the cycles from the first image's first to the last image's last
  } operation_e;

  import "DPI-C" function int bridge_open(input string request_path, input string reply_path);
  import "DPI-C" function int bridge_next(output longint unsigned operation, output longint unsigned address,
                                          output longint unsigned value);
  import "DPI-C" function void bridge_answer(input longint unsigned value);
  import "DPI-C" function int bridge_take();
  import "DPI-C" function void bridge_give(input int value);
  import "DPI-C" function string bridge_text(input longint unsigned length);

  int trace, wave_from, wave_to, more, taken;
  string request_path, reply_path, wave_path, name;
  longint unsigned operation, address, value, waited;
  logic [31:0] word;

  // A file's name behind a request: what the file is for is closed before another is opened.
  function automatic void open_trace(string name);
    if (trace != 0) $fclose(trace);
    trace = (name == "") ? 0 : $fopen(name, "w");
    if (name != "" && trace == 0) $fatal(1, "cannot write %s", name);
  endfunction

  function automatic void set_figure(string name, longint unsigned to);
    case (name)
      "wave_from": wave_from = int'(to);
      "wave_to": wave_to = int'(to);
      default: if (!u_dram.set_figure(name, to)) $fatal(1, "the memory has no figure %s", name);
    endcase
  endfunction

  function automatic void check_memory(longint unsigned first, longint unsigned bytes);
    if (first + bytes > 64'(MemoryBytes)) $fatal(1, "the memory has no bytes from %0d to %0d", first, first + bytes - 1);
  endfunction

  task automatic serve();
    case (operation)
      OpWriteRegister: begin
        write_register(AddressBits'(address), value[31:0]);
        bridge_answer(0);
      end
      OpReadRegister: begin
        read_register(AddressBits'(address), word);
        bridge_answer(64'(word));
      end
      OpWriteMemory: begin
        check_memory(address, value);
        for (longint unsigned i = 0; i < value; i++) begin
          taken = bridge_take();
          u_dram.mem[address + i] = taken[7:0];
        end
        bridge_answer(value);
      end
      OpReadMemory: begin
        check_memory(address, value);
        bridge_answer(value);
        for (longint unsigned i = 0; i < value; i++) bridge_give(32'(u_dram.mem[address + i]));
      end
      OpWait: begin
        waited = 0;
        while (!irq && waited < value) begin
          @(negedge clk);
          waited++;
        end
        bridge_answer(64'(irq));
      end
      OpClock: begin
        for (waited = 0; waited < value; waited++) @(negedge clk);
        bridge_answer(value);
      end
      OpFigure: begin
        name = bridge_text(value);
        set_figure(name, address);
        bridge_answer(0);
      end
      OpTrace: begin
        name = bridge_text(value);
        open_trace(name);
        bridge_answer(0);
      end
      OpStalls: begin
        name = bridge_text(value);
        load_stalls(name);
        bridge_answer(stall_cycles);
      end
      OpWaves: begin
        wave_path = bridge_text(value);
        bridge_answer(0);
      end
      OpElapsed: bridge_answer(elapsed_run);
      default: $fatal(1, "the host asks for operation %0d", operation);
    endcase
  endtask

  initial begin
    rst_n = 1'b0;
    trace = 0;
    wave_from = 0;
    wave_to = 0;
    stall_cycles = 0;
    stall = '0;
    wave_path = "";
    s_axi_awvalid = 1'b0;
    s_axi_wvalid = 1'b0;
    s_axi_wstrb = '1;
    s_axi_bready = 1'b1;
    s_axi_arvalid = 1'b0;
    s_axi_rready = 1'b1;
    if (!$value$plusargs("requests=%s", request_path) || !$value$plusargs("replies=%s", reply_path)) begin
      $fatal(1, "give +requests=PIPE and +replies=PIPE");
    end
    more = bridge_open(request_path, reply_path);
    if (more != 0) $fatal(1, "cannot open %s and %s", request_path, reply_path);
    repeat (4) @(negedge clk);
    rst_n = 1'b1;
    more = bridge_next(operation, address, value);
    while (more != 0) begin
      serve();
      more = bridge_next(operation, address, value);
    end
    open_trace("");
    $finish;
  end

  // --- stalls --------------------------------------------------------------------------------------------------------

  // Of every cycle of an image, a bit a channel: AR, R, AW, W, B. The file has a line for every cycle that has any:
  // cycle and bits, in decimal.
  localparam int unsigned MaxStalls = 1 << 22;
  byte unsigned stalls [MaxStalls];
  longint unsigned stall_cycles;
  logic [4:0] stall;

  function automatic void load_stalls(string name);
    int file, at, bits;
    stall_cycles = 0;
    if (name == "") return;
    file = $fopen(name, "r");
    if (file == 0) $fatal(1, "cannot read %s", name);
    if ($fscanf(file, "%d", at) != 1) $fatal(1, "%s does not begin with its number of cycles", name);
    if (at > MaxStalls) $fatal(1, "%s has %0d cycles; a stall trace has at most %0d", name, at, MaxStalls);
    for (int i = 0; i < at; i++) stalls[i] = '0;
    stall_cycles = 64'(at);
    while ($fscanf(file, "%d %d", at, bits) == 2) stalls[at] = 8'(bits);
    $fclose(file);
  endfunction

  // In the middle of a cycle the memory is told of the next.
  byte unsigned stall_bits;
  always @(negedge clk) begin
    stall_bits = '0;
    if (u_dut.run && cycle + 1 < stall_cycles) stall_bits = stalls[cycle + 1];
    stall = stall_bits[4:0];
  end

  // --- waves ---------------------------------------------------------------------------------------------------------

  always @(posedge clk) begin
    if (wave_path != "" && u_dut.run && u_dut.images_done == 0) begin
      if (cycle == 64'(wave_from)) begin
        $dumpfile(wave_path);
        $dumpvars(0, u_dut);
      end
      if (cycle == 64'(wave_to)) $finish;
    end
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
    if (trace != 0 && u_dut.run && u_dut.images_done == 0) begin
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
