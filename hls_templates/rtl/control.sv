// Control of a run: program load, images one after the other, counters, watchdog and errors
// (docs/microarchitecture.md, section 10).
module control #(
  localparam int unsigned Units = 3
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  // From the registers.
  input  logic                   start_i,
  input  logic                   load_i,
  input  logic                   reset_i,
  input  logic [31:0]            images_i,
  input  logic [31:0]            watchdog_i,
  input  logic [11:0]            program_base_low_i,
  input  logic [3:0][63:0]       base_i,
  input  logic [63:0]            input_stride_i,
  input  logic [63:0]            output_stride_i,
  // To the registers.
  output logic                   idle_o,
  output logic                   done_o,
  output logic                   error_o,
  output logic                   done_event_o,
  output logic                   error_event_o,
  output logic [3:0]             error_code_o,
  output logic [1:0]             error_unit_o,
  output logic [23:0]            error_command_o,
  output logic [31:0]            images_done_o,
  output logic [63:0]            cycles_o,
  output logic [Units-1:0][63:0] busy_o,
  output logic [63:0]            hold_o,
  output logic [63:0]            read_beats_o,
  output logic [63:0]            write_beats_o,
  output logic [63:0]            saturated_o,
  // To units and queues.
  output logic                   unit_rst_no,
  output logic                   halt_o,
  output logic                   prime_o,
  output logic                   run_o,
  output logic [3:0][63:12]      base_o,
  output logic [Units-1:0][23:0] completed_o,
  // From units and queues: LOAD, COMPUTE, STORE.
  input  logic [Units-1:0]       primed_i,
  input  logic [Units-1:0]       busy_i,
  input  logic [Units-1:0]       unit_done_i,
  input  logic [Units-1:0]       finished_i,
  input  logic [Units-1:0]       unknown_i,
  input  logic                   load_idle_i,
  input  logic                   store_idle_i,
  input  logic                   read_response_error_i,
  input  logic                   read_last_error_i,
  input  logic                   write_response_error_i,
  input  logic                   read_beat_i,
  input  logic                   write_beat_i,
  input  logic                   hold_i,
  input  logic [15:0]            saturated_i,
  // Program loader.
  output logic                   loader_start_o,
  input  logic                   loader_busy_i,
  input  logic                   loader_loaded_i,
  input  logic                   loader_header_error_i,
  input  logic [4:0]             loader_header_word_i,
  input  logic                   loader_checksum_error_i
);

  import register_pkg::*;

  typedef enum logic [2:0] {
    StIdle,
    StLoad,
    StPrime,
    StWait,
    StRun,
    StQuiesce,
    StHalt
  } state_e;

  state_e state_q, state_d;
  logic clear, clear_wanted_q;
  logic done_q, error_q, unit_rst_q;
  logic [31:0] images_q, watchdog_q;
  logic [63:12] input_q, output_q;
  logic [Units-1:0][23:0] completed_q;
  logic misaligned, all_finished, begin_run, last_image_q, next_image, quiet, alive, active;

  assign misaligned = |program_base_low_i || |base_i[0][11:0] || |base_i[1][11:0] || |base_i[2][11:0]
                      || |base_i[3][11:0] || |input_stride_i[11:0] || |output_stride_i[11:0];
  assign all_finished = &finished_i;
  assign quiet = load_idle_i && store_idle_i;
  assign active = state_q != StIdle && state_q != StHalt;

  // --- errors: the first one counts ---------------------------------------------------------------------------------

  logic found;
  error_e code;
  logic [1:0] unit;
  logic [23:0] command;

  always_comb begin
    found = 1'b1;
    code = ErrorNone;
    unit = 2'd0;
    command = completed_q[0];
    if (load_i && active || start_i && (active || !loader_loaded_i)) begin
      code = ErrorStart;
      command = '0;
    end else if ((start_i || load_i) && misaligned) begin
      code = ErrorBase;
      command = '0;
    end else if (loader_header_error_i) begin
      code = ErrorHeader;
      command = 24'(loader_header_word_i);
    end else if (loader_checksum_error_i) begin
      code = ErrorChecksum;
      command = '0;
    end else if (read_response_error_i && active) begin
      code = ErrorRead;
    end else if (write_response_error_i && active) begin
      code = ErrorWrite;
      unit = 2'd2;
      command = completed_q[2];
    end else if (read_last_error_i && active) begin
      code = ErrorLast;
    end else if (unknown_i != '0 && run_o) begin
      code = ErrorCommand;
      unit = unknown_i[0] ? 2'd0 : unknown_i[1] ? 2'd1 : 2'd2;
      command = completed_q[unit];
    end else if (active && watchdog_i != '0 && watchdog_q == watchdog_i) begin
      code = ErrorWatchdog;
      unit = busy_i[1] ? 2'd1 : busy_i[2] ? 2'd2 : 2'd0;
      command = completed_q[unit];
    end else begin
      found = 1'b0;
    end
  end

  assign error_event_o = found && !error_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      error_q <= 1'b0;
      error_code_o <= '0;
      error_unit_o <= '0;
      error_command_o <= '0;
    end else if (clear) begin
      error_q <= 1'b0;
      error_code_o <= '0;
      error_unit_o <= '0;
      error_command_o <= '0;
    end else if (error_event_o) begin
      error_q <= 1'b1;
      error_code_o <= code;
      error_unit_o <= unit;
      error_command_o <= command;
    end
  end

  // --- states ------------------------------------------------------------------------------------------------------

  // A reset waits for open bursts, whose beats would come in the next run; a second one does not.
  assign clear = (reset_i || clear_wanted_q) && quiet || reset_i && clear_wanted_q;
  assign begin_run = state_q == StIdle && start_i;
  assign next_image = state_q == StQuiesce && !last_image_q;

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      StIdle: begin
        if (load_i) state_d = StLoad;
        else if (start_i && images_i != '0) state_d = StPrime;
      end
      StLoad: if (!loader_busy_i && !loader_start_o) state_d = StIdle;
      StPrime: state_d = StWait;
      StWait: if (&primed_i) state_d = StRun;
      StRun: if (all_finished) state_d = StQuiesce;
      StQuiesce: state_d = next_image ? StPrime : StIdle;
      StHalt: ;
      default: state_d = StHalt;
    endcase
    if (error_q || error_event_o || reset_i || clear_wanted_q) state_d = StHalt;
    if (clear) state_d = StIdle;
  end

  logic load_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      unit_rst_q <= 1'b0;
      clear_wanted_q <= 1'b0;
      load_q <= 1'b0;
      done_q <= 1'b0;
    end else begin
      state_q <= state_d;
      unit_rst_q <= !clear;
      clear_wanted_q <= (reset_i || clear_wanted_q) && !clear;
      load_q <= state_q == StIdle && load_i && !found;
      if (begin_run || clear) done_q <= 1'b0;
      if (done_event_o) done_q <= 1'b1;
    end
  end

  assign done_event_o = !found && !error_q && !reset_i && !clear_wanted_q
                        && (state_q == StQuiesce && !next_image || begin_run && images_i == '0);
  assign idle_o = state_q == StIdle || (state_q == StHalt && quiet);
  assign done_o = done_q;
  assign error_o = error_q;
  // Units are cleared at the end of the cycle in which their reset is active: they offer nothing new in it either.
  assign halt_o = state_q == StHalt || !unit_rst_q;
  assign prime_o = state_q == StPrime;
  assign run_o = state_q == StRun;
  assign loader_start_o = load_q;
  assign unit_rst_no = unit_rst_q;

  // --- images ------------------------------------------------------------------------------------------------------

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      images_q <= '0;
      images_done_o <= '0;
      input_q <= '0;
      output_q <= '0;
    end else if (begin_run) begin
      images_q <= images_i;
      images_done_o <= '0;
      input_q <= base_i[1][63:12];
      output_q <= base_i[2][63:12];
    end else if (state_q == StQuiesce) begin
      images_done_o <= images_done_o + 32'd1;
      input_q <= input_q + input_stride_i[63:12];
      output_q <= output_q + output_stride_i[63:12];
    end
  end

  // Both stay from an image's start to its end.
  always_ff @(posedge clk_i) last_image_q <= images_done_o + 32'd1 == images_q;

  assign base_o[0] = base_i[0][63:12];
  assign base_o[1] = input_q;
  assign base_o[2] = output_q;
  assign base_o[3] = base_i[3][63:12];

  // --- counters: of the image while it runs, shown when it is done ---------------------------------------------------

  logic [63:0] cycles_q, hold_q, read_q, write_q, saturated_q;
  logic [Units-1:0][63:0] busy_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      completed_q <= '0;
      watchdog_q <= '0;
    end else begin
      for (int unsigned i = 0; i < Units; i++) begin
        if (prime_o) completed_q[i] <= '0;
        else if (unit_done_i[i] && run_o) completed_q[i] <= completed_q[i] + 24'd1;
      end
      watchdog_q <= alive ? '0 : watchdog_q + 32'd1;
    end
  end
  assign alive = !active || unit_done_i != '0 || read_beat_i || write_beat_i;
  assign completed_o = completed_q;

  always_ff @(posedge clk_i) begin
    if (prime_o) begin
      cycles_q <= '0;
      hold_q <= '0;
      read_q <= '0;
      write_q <= '0;
      saturated_q <= '0;
      busy_q <= '0;
    end else if (run_o) begin
      if (!all_finished) cycles_q <= cycles_q + 64'd1;
      hold_q <= hold_q + 64'(hold_i);
      read_q <= read_q + 64'(read_beat_i);
      write_q <= write_q + 64'(write_beat_i);
      saturated_q <= saturated_q + 64'(saturated_i);
      for (int unsigned i = 0; i < Units; i++) busy_q[i] <= busy_q[i] + 64'(busy_i[i]);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      cycles_o <= '0;
      hold_o <= '0;
      read_beats_o <= '0;
      write_beats_o <= '0;
      saturated_o <= '0;
      busy_o <= '0;
    end else if (state_q == StQuiesce) begin
      cycles_o <= cycles_q;
      hold_o <= hold_q;
      read_beats_o <= read_q;
      write_beats_o <= write_q;
      saturated_o <= saturated_q;
      busy_o <= busy_q;
    end
  end

endmodule
