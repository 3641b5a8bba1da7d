// The accelerator: LOAD, COMPUTE and STORE with their queues, the memories between them, and the host's registers
// (docs/microarchitecture.md; docs/rtl.md has a drawing).
//
// Two AXI4 ports, one that reads and one that writes, an AXI4-Lite port for the registers, one interrupt. Bursts are INCR of
// whole beats under one ID.
module accelerator #(
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
  parameter int unsigned StoreCommands = 512
) (
  input  logic                                 clk_i,
  input  logic                                 rst_ni,
  // AXI4-Lite: registers.
  input  logic                                 s_axi_awvalid,
  output logic                                 s_axi_awready,
  input  logic [register_pkg::AddressBits-1:0] s_axi_awaddr,
  input  logic                                 s_axi_wvalid,
  output logic                                 s_axi_wready,
  input  logic [31:0]                          s_axi_wdata,
  input  logic [3:0]                           s_axi_wstrb,
  output logic                                 s_axi_bvalid,
  input  logic                                 s_axi_bready,
  output logic [1:0]                           s_axi_bresp,
  input  logic                                 s_axi_arvalid,
  output logic                                 s_axi_arready,
  input  logic [register_pkg::AddressBits-1:0] s_axi_araddr,
  output logic                                 s_axi_rvalid,
  input  logic                                 s_axi_rready,
  output logic [31:0]                          s_axi_rdata,
  output logic [1:0]                           s_axi_rresp,
  output logic                                 irq_o,
  // AXI4: reads.
  output logic                                 m_axi_rd_arvalid,
  input  logic                                 m_axi_rd_arready,
  output logic [63:0]                          m_axi_rd_araddr,
  output logic [7:0]                           m_axi_rd_arlen,
  output logic [2:0]                           m_axi_rd_arsize,
  output logic [1:0]                           m_axi_rd_arburst,
  output logic [3:0]                           m_axi_rd_arcache,
  output logic [2:0]                           m_axi_rd_arprot,
  input  logic                                 m_axi_rd_rvalid,
  output logic                                 m_axi_rd_rready,
  input  logic [BeatBytes*8-1:0]               m_axi_rd_rdata,
  input  logic [1:0]                           m_axi_rd_rresp,
  input  logic                                 m_axi_rd_rlast,
  // AXI4: writes.
  output logic                                 m_axi_wr_awvalid,
  input  logic                                 m_axi_wr_awready,
  output logic [63:0]                          m_axi_wr_awaddr,
  output logic [7:0]                           m_axi_wr_awlen,
  output logic [2:0]                           m_axi_wr_awsize,
  output logic [1:0]                           m_axi_wr_awburst,
  output logic [3:0]                           m_axi_wr_awcache,
  output logic [2:0]                           m_axi_wr_awprot,
  output logic                                 m_axi_wr_wvalid,
  input  logic                                 m_axi_wr_wready,
  output logic [BeatBytes*8-1:0]               m_axi_wr_wdata,
  output logic [BeatBytes-1:0]                 m_axi_wr_wstrb,
  output logic                                 m_axi_wr_wlast,
  input  logic                                 m_axi_wr_bvalid,
  output logic                                 m_axi_wr_bready,
  input  logic [1:0]                           m_axi_wr_bresp
);

  import command_pkg::*;

  localparam int unsigned WordBytes = 2 * Pox;
  localparam int unsigned WordBits = WordBytes * 8;
  localparam int unsigned BeatBits = BeatBytes * 8;
  localparam int unsigned WeightBits = Pof * 8;
  localparam int unsigned RecordBits = 32;
  localparam int unsigned PageBits = (Pages > 1) ? $clog2(Pages) : 1;
  localparam int unsigned BankBits = (Poy > 1) ? $clog2(Poy) : 1;
  localparam int unsigned AddressBits = (PageDepth > 1) ? $clog2(PageDepth) : 1;
  localparam int unsigned WeightAddressBits = (WeightDepth > 1) ? $clog2(WeightDepth) : 1;
  localparam int unsigned ParameterAddressBits = (ParameterDepth > 1) ? $clog2(ParameterDepth) : 1;
  localparam int unsigned SaturatedBits = $clog2(Pox + 1);

  localparam program_pkg::built_t Built = '{
    Pox: Pox,
    Poy: Poy,
    Pof: Pof,
    beat_bytes: BeatBytes,
    pages: Pages,
    page_depth: PageDepth,
    weight_depth: WeightDepth,
    parameter_depth: ParameterDepth,
    kernel_columns: KernelColumns,
    stride_columns: StrideColumns,
    shortcut_stride: ShortcutStride,
    pool_columns: PoolColumns,
    pool_stride: PoolStride,
    pool_dilation: PoolDilation,
    row_by_row: 32'(RowByRow),
    grouped: 32'(Grouped),
    leaky: 32'(Leaky),
    load_commands: LoadCommands,
    compute_commands: ComputeCommands,
    store_commands: StoreCommands
  };

  // Indices of the units.
  localparam int unsigned UnitLoad = 0;
  localparam int unsigned UnitCompute = 1;
  localparam int unsigned UnitStore = 2;

  // --- registers and control ---------------------------------------------------------------------------------------

  logic [2:0] pulse, start, unit_done, busy, primed, finished, unknown;
  register_pkg::stored_t stored;
  register_pkg::shown_t shown;
  logic done_event, error_event, status_idle, status_done, status_error;
  logic [3:0] error_code;
  logic [1:0] error_unit;
  logic [23:0] error_command;
  logic [31:0] images_done;
  logic [63:0] cycles, hold_cycles, read_beats, write_beats, saturated_values;
  logic [2:0][63:0] busy_cycles;
  logic unit_rst_n, halt, prime, run;
  logic [3:0][63:12] base;
  logic [2:0][23:0] completed;
  logic load_idle, store_idle, read_response_error, read_last_error, write_response_error;
  logic hold;
  logic [SaturatedBits-1:0] saturated;
  logic loader_start, loader_busy, loader_loaded, header_error, checksum_error;
  logic [4:0] header_word;

  always_comb begin
    shown = '0;
    shown.status = {28'b0, status_error, status_done, loader_loaded, status_idle};
    shown.error = {error_command, 2'b0, error_unit, error_code};
    shown.images_done = images_done;
    shown.cycles = cycles;
    shown.busy_load = busy_cycles[UnitLoad];
    shown.busy_compute = busy_cycles[UnitCompute];
    shown.busy_store = busy_cycles[UnitStore];
    shown.hold = hold_cycles;
    shown.read_bytes = read_beats << $clog2(BeatBytes);
    shown.write_bytes = write_beats << $clog2(BeatBytes);
    shown.saturated = saturated_values;
    shown[$bits(register_pkg::shown_t)-1 -: $bits(Built)] = Built;
  end

  registers u_registers (
    .clk_i,
    .rst_ni,
    .aw_valid_i(s_axi_awvalid),
    .aw_ready_o(s_axi_awready),
    .aw_addr_i(s_axi_awaddr),
    .w_valid_i(s_axi_wvalid),
    .w_ready_o(s_axi_wready),
    .w_data_i(s_axi_wdata),
    .w_strb_i(s_axi_wstrb),
    .b_valid_o(s_axi_bvalid),
    .b_ready_i(s_axi_bready),
    .ar_valid_i(s_axi_arvalid),
    .ar_ready_o(s_axi_arready),
    .ar_addr_i(s_axi_araddr),
    .r_valid_o(s_axi_rvalid),
    .r_ready_i(s_axi_rready),
    .r_data_o(s_axi_rdata),
    .pulse_o(pulse),
    .stored_o(stored),
    .irq_o,
    .shown_i(shown),
    .event_i({error_event, done_event})
  );
  assign s_axi_bresp = '0;
  assign s_axi_rresp = '0;

  control u_control (
    .clk_i,
    .rst_ni,
    .start_i(pulse[0]),
    .load_i(pulse[1]),
    .reset_i(pulse[2]),
    .images_i(stored.images),
    .watchdog_i(stored.watchdog),
    .program_base_low_i(stored.program_base[11:0]),
    .base_i({stored.feature_base, stored.output_base, stored.input_base, stored.parameter_base}),
    .input_stride_i(stored.input_stride),
    .output_stride_i(stored.output_stride),
    .idle_o(status_idle),
    .done_o(status_done),
    .error_o(status_error),
    .done_event_o(done_event),
    .error_event_o(error_event),
    .error_code_o(error_code),
    .error_unit_o(error_unit),
    .error_command_o(error_command),
    .images_done_o(images_done),
    .cycles_o(cycles),
    .busy_o(busy_cycles),
    .hold_o(hold_cycles),
    .read_beats_o(read_beats),
    .write_beats_o(write_beats),
    .saturated_o(saturated_values),
    .unit_rst_no(unit_rst_n),
    .halt_o(halt),
    .prime_o(prime),
    .run_o(run),
    .base_o(base),
    .completed_o(completed),
    .primed_i(primed),
    .busy_i(busy),
    .unit_done_i(unit_done),
    .finished_i(finished),
    .unknown_i(unknown),
    .load_idle_i(load_idle),
    .store_idle_i(store_idle),
    .read_response_error_i(read_response_error),
    .read_last_error_i(read_last_error),
    .write_response_error_i(write_response_error),
    .read_beat_i(m_axi_rd_rvalid),
    .write_beat_i(m_axi_wr_wvalid && m_axi_wr_wready),
    .hold_i(hold),
    .saturated_i(16'(saturated)),
    .loader_start_o(loader_start),
    .loader_busy_i(loader_busy),
    .loader_loaded_i(loader_loaded),
    .loader_header_error_i(header_error),
    .loader_header_word_i(header_word),
    .loader_checksum_error_i(checksum_error)
  );

  // --- program -----------------------------------------------------------------------------------------------------

  logic [2:0][31:0] commands;
  logic [2:0] program_w_en;
  logic [31:0] program_w_addr;
  logic [63:0] program_w_data;
  logic loader_load_start, program_beat;
  load_t loader_command, queue_load_command;
  logic [ComputeWords*64-1:0] compute_command;
  store_t store_command;
  logic [BeatBits-1:0] load_beat_data;
  logic load_done;

  program_loader #(
    .BeatBytes(BeatBytes),
    .Built(Built),
    .LoadWords(LoadWords),
    .ComputeWords(ComputeWords),
    .StoreWords(StoreWords)
  ) u_loader (
    .clk_i,
    .rst_ni,
    .start_i(loader_start),
    .halt_i(halt),
    .clear_i(!unit_rst_n),
    .busy_o(loader_busy),
    .loaded_o(loader_loaded),
    .header_error_o(header_error),
    .checksum_error_o(checksum_error),
    .header_word_o(header_word),
    .commands_o(commands),
    .load_start_o(loader_load_start),
    .load_command_o(loader_command),
    .load_done_i(load_done),
    .beat_en_i(program_beat),
    .beat_data_i(load_beat_data),
    .w_en_o(program_w_en),
    .w_addr_o(program_w_addr),
    .w_data_o(program_w_data)
  );

  command_queue #(
    .Words(LoadWords),
    .Commands(LoadCommands),
    .Opcodes(8'b1 << OpcodeLoad)
  ) u_load_queue (
    .clk_i,
    .rst_ni(unit_rst_n),
    .w_en_i(program_w_en[UnitLoad]),
    .w_addr_i(program_w_addr[$clog2(LoadWords*LoadCommands)-1:0]),
    .w_data_i(program_w_data),
    .prime_i(prime),
    .commands_i(commands[UnitLoad]),
    .primed_o(primed[UnitLoad]),
    .run_i(run),
    .done_i(unit_done),
    .completed_i(completed),
    .start_o(start[UnitLoad]),
    .command_o(queue_load_command),
    .unit_done_i(unit_done[UnitLoad]),
    .busy_o(busy[UnitLoad]),
    .finished_o(finished[UnitLoad]),
    .unknown_o(unknown[UnitLoad])
  );

  command_queue #(
    .Words(ComputeWords),
    .Commands(ComputeCommands),
    .Opcodes(8'b1 << OpcodeConvolve | 8'b1 << OpcodePool)
  ) u_compute_queue (
    .clk_i,
    .rst_ni(unit_rst_n),
    .w_en_i(program_w_en[UnitCompute]),
    .w_addr_i(program_w_addr[$clog2(ComputeWords*ComputeCommands)-1:0]),
    .w_data_i(program_w_data),
    .prime_i(prime),
    .commands_i(commands[UnitCompute]),
    .primed_o(primed[UnitCompute]),
    .run_i(run),
    .done_i(unit_done),
    .completed_i(completed),
    .start_o(start[UnitCompute]),
    .command_o(compute_command),
    .unit_done_i(unit_done[UnitCompute]),
    .busy_o(busy[UnitCompute]),
    .finished_o(finished[UnitCompute]),
    .unknown_o(unknown[UnitCompute])
  );

  command_queue #(
    .Words(StoreWords),
    .Commands(StoreCommands),
    .Opcodes(8'b1 << OpcodeStore)
  ) u_store_queue (
    .clk_i,
    .rst_ni(unit_rst_n),
    .w_en_i(program_w_en[UnitStore]),
    .w_addr_i(program_w_addr[$clog2(StoreWords*StoreCommands)-1:0]),
    .w_data_i(program_w_data),
    .prime_i(prime),
    .commands_i(commands[UnitStore]),
    .primed_o(primed[UnitStore]),
    .run_i(run),
    .done_i(unit_done),
    .completed_i(completed),
    .start_o(start[UnitStore]),
    .command_o(store_command),
    .unit_done_i(unit_done[UnitStore]),
    .busy_o(busy[UnitStore]),
    .finished_o(finished[UnitStore]),
    .unknown_o(unknown[UnitStore])
  );

  // --- memories ----------------------------------------------------------------------------------------------------

  localparam int unsigned WeightBeats = (WeightDepth * WeightBits + BeatBits - 1) / BeatBits;
  localparam int unsigned ParameterBeats = (ParameterDepth * RecordBits + BeatBits - 1) / BeatBits;
  localparam int unsigned WeightBeatBits = (WeightBeats > 1) ? $clog2(WeightBeats) : 1;
  localparam int unsigned ParameterBeatBits = (ParameterBeats > 1) ? $clog2(ParameterBeats) : 1;

  logic [Poy-1:0] a_en;
  logic [PageBits-1:0] a_page, drain_page, store_page, result_page, load_page;
  logic [Poy-1:0][AddressBits-1:0] a_addr;
  logic [Poy-1:0][WordBits-1:0] a_data;
  logic drain_en, store_en, result_en, load_en;
  logic [BankBits-1:0] drain_bank, store_bank, result_bank, load_bank;
  logic [AddressBits-1:0] drain_addr, store_addr, result_addr, load_addr;
  logic [WordBits-1:0] drain_data, store_data, result_data, load_data;
  logic [WordBytes-1:0] result_mask, load_mask;
  logic weight_w_en, weight_r_en, parameter_w_en, parameter_r_en;
  logic [23:0] load_beat;
  logic [WeightAddressBits-1:0] weight_r_addr;
  logic [WeightBits-1:0] weight_r_data;
  logic [ParameterAddressBits-1:0] parameter_r_addr;
  logic [RecordBits-1:0] parameter_r_data;

  feature_pages #(
    .Pages(Pages),
    .Poy(Poy),
    .Depth(PageDepth),
    .WordBytes(WordBytes)
  ) u_pages (
    .clk_i,
    .a_en_i(a_en),
    .a_page_i(a_page),
    .a_addr_i(a_addr),
    .a_data_o(a_data),
    .drain_en_i(drain_en),
    .drain_page_i(drain_page),
    .drain_bank_i(drain_bank),
    .drain_addr_i(drain_addr),
    .drain_data_o(drain_data),
    .store_en_i(store_en),
    .store_page_i(store_page),
    .store_bank_i(store_bank),
    .store_addr_i(store_addr),
    .store_data_o(store_data),
    .result_en_i(result_en),
    .result_page_i(result_page),
    .result_bank_i(result_bank),
    .result_addr_i(result_addr),
    .result_mask_i(result_mask),
    .result_data_i(result_data),
    .load_en_i(load_en),
    .load_page_i(load_page),
    .load_bank_i(load_bank),
    .load_addr_i(load_addr),
    .load_mask_i(load_mask),
    .load_data_i(load_data)
  );

  word_buffer #(
    .WordBits(WeightBits),
    .Depth(WeightDepth),
    .BeatBits(BeatBits)
  ) u_weights (
    .clk_i,
    .w_en_i(weight_w_en),
    .w_beat_i(load_beat[WeightBeatBits-1:0]),
    .w_data_i(load_beat_data),
    .r_en_i(weight_r_en),
    .r_addr_i(weight_r_addr),
    .r_data_o(weight_r_data)
  );

  word_buffer #(
    .WordBits(RecordBits),
    .Depth(ParameterDepth),
    .BeatBits(BeatBits)
  ) u_parameters (
    .clk_i,
    .w_en_i(parameter_w_en),
    .w_beat_i(load_beat[ParameterBeatBits-1:0]),
    .w_data_i(load_beat_data),
    .r_en_i(parameter_r_en),
    .r_addr_i(parameter_r_addr),
    .r_data_o(parameter_r_data)
  );

  // --- units -------------------------------------------------------------------------------------------------------

  // The program loader uses LOAD while no program runs.
  assign unit_done[UnitLoad] = load_done && !loader_busy;

  load #(
    .Pages(Pages),
    .Poy(Poy),
    .PageDepth(PageDepth),
    .WordBytes(WordBytes),
    .WeightBits(WeightBits),
    .RecordBits(RecordBits),
    .BeatBytes(BeatBytes),
    .BurstBytes(BurstBytes),
    .Outstanding(Outstanding)
  ) u_load (
    .clk_i,
    .rst_ni(unit_rst_n),
    .start_i(start[UnitLoad] || loader_load_start),
    .command_i(loader_busy ? loader_command : queue_load_command),
    .done_o(load_done),
    .program_i(loader_busy),
    .program_base_i(stored.program_base[63:12]),
    .base_i(base),
    .halt_i(halt),
    .idle_o(load_idle),
    .response_error_o(read_response_error),
    .last_error_o(read_last_error),
    .ar_valid_o(m_axi_rd_arvalid),
    .ar_ready_i(m_axi_rd_arready),
    .ar_addr_o(m_axi_rd_araddr),
    .ar_len_o(m_axi_rd_arlen),
    .r_valid_i(m_axi_rd_rvalid),
    .r_data_i(m_axi_rd_rdata),
    .r_resp_i(m_axi_rd_rresp),
    .r_last_i(m_axi_rd_rlast),
    .page_en_o(load_en),
    .page_o(load_page),
    .page_bank_o(load_bank),
    .page_addr_o(load_addr),
    .page_mask_o(load_mask),
    .page_data_o(load_data),
    .weight_en_o(weight_w_en),
    .parameter_en_o(parameter_w_en),
    .program_en_o(program_beat),
    .beat_o(load_beat),
    .beat_data_o(load_beat_data)
  );

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
    .PoolDilation(PoolDilation),
    .RowByRow(RowByRow),
    .Grouped(Grouped),
    .Leaky(Leaky)
  ) u_compute (
    .clk_i,
    .rst_ni(unit_rst_n),
    .start_i(start[UnitCompute]),
    .command_i(compute_command),
    .done_o(unit_done[UnitCompute]),
    .a_en_o(a_en),
    .a_page_o(a_page),
    .a_addr_o(a_addr),
    .a_data_i(a_data),
    .b_en_o(drain_en),
    .b_page_o(drain_page),
    .b_bank_o(drain_bank),
    .b_addr_o(drain_addr),
    .b_data_i(drain_data),
    .w_en_o(result_en),
    .w_page_o(result_page),
    .w_bank_o(result_bank),
    .w_addr_o(result_addr),
    .w_be_o(result_mask),
    .w_data_o(result_data),
    .wt_en_o(weight_r_en),
    .wt_addr_o(weight_r_addr),
    .wt_data_i(weight_r_data),
    .pr_en_o(parameter_r_en),
    .pr_addr_o(parameter_r_addr),
    .pr_data_i(parameter_r_data),
    .saturated_o(saturated),
    .hold_o(hold)
  );

  store #(
    .Pages(Pages),
    .Poy(Poy),
    .PageDepth(PageDepth),
    .WordBytes(WordBytes),
    .BeatBytes(BeatBytes),
    .BurstBytes(BurstBytes)
  ) u_store (
    .clk_i,
    .rst_ni(unit_rst_n),
    .start_i(start[UnitStore]),
    .command_i(store_command),
    .done_o(unit_done[UnitStore]),
    .base_i(base),
    .halt_i(halt),
    .idle_o(store_idle),
    .response_error_o(write_response_error),
    .aw_valid_o(m_axi_wr_awvalid),
    .aw_ready_i(m_axi_wr_awready),
    .aw_addr_o(m_axi_wr_awaddr),
    .aw_len_o(m_axi_wr_awlen),
    .w_valid_o(m_axi_wr_wvalid),
    .w_ready_i(m_axi_wr_wready),
    .w_data_o(m_axi_wr_wdata),
    .w_last_o(m_axi_wr_wlast),
    .b_valid_i(m_axi_wr_bvalid),
    .b_resp_i(m_axi_wr_bresp),
    .page_en_o(store_en),
    .page_o(store_page),
    .page_bank_o(store_bank),
    .page_addr_o(store_addr),
    .page_data_i(store_data)
  );

  // What is constant on the bus: whole beats, INCR; AxCACHE: modifiable and bufferable, not cached; AxPROT: unprivileged,
  // secure, data.
  assign m_axi_rd_arsize = 3'($clog2(BeatBytes));
  assign m_axi_rd_arburst = 2'b01;
  assign m_axi_rd_arcache = 4'b0011;
  assign m_axi_rd_arprot = 3'b000;
  assign m_axi_rd_rready = 1'b1;
  assign m_axi_wr_awsize = 3'($clog2(BeatBytes));
  assign m_axi_wr_awburst = 2'b01;
  assign m_axi_wr_awcache = 4'b0011;
  assign m_axi_wr_awprot = 3'b000;
  assign m_axi_wr_wstrb = '1;
  assign m_axi_wr_bready = 1'b1;

  logic unused;
  assign unused = ^{stored, program_w_addr, load_beat};

endmodule
