// Made by `python -m cgap.backends.rtl.packages` from fpga_model/machine/registers.py. Do not edit.

// The registers that the host sees. A register of 64 bits takes two addresses, the low half first.
package register_pkg;

  localparam int unsigned AddressBits = 9;

  localparam logic [AddressBits-1:0] AddressCtrl = 9'h000;
  localparam logic [AddressBits-1:0] AddressStatus = 9'h004;
  localparam logic [AddressBits-1:0] AddressError = 9'h008;
  localparam logic [AddressBits-1:0] AddressIrqEnable = 9'h00c;
  localparam logic [AddressBits-1:0] AddressIrqStatus = 9'h010;
  localparam logic [AddressBits-1:0] AddressImages = 9'h014;
  localparam logic [AddressBits-1:0] AddressImagesDone = 9'h018;
  localparam logic [AddressBits-1:0] AddressWatchdog = 9'h01c;
  localparam logic [AddressBits-1:0] AddressProgramBase = 9'h020;
  localparam logic [AddressBits-1:0] AddressParameterBase = 9'h028;
  localparam logic [AddressBits-1:0] AddressInputBase = 9'h030;
  localparam logic [AddressBits-1:0] AddressOutputBase = 9'h038;
  localparam logic [AddressBits-1:0] AddressFeatureBase = 9'h040;
  localparam logic [AddressBits-1:0] AddressInputStride = 9'h048;
  localparam logic [AddressBits-1:0] AddressOutputStride = 9'h050;
  localparam logic [AddressBits-1:0] AddressCycles = 9'h058;
  localparam logic [AddressBits-1:0] AddressBusyLoad = 9'h060;
  localparam logic [AddressBits-1:0] AddressBusyCompute = 9'h068;
  localparam logic [AddressBits-1:0] AddressBusyStore = 9'h070;
  localparam logic [AddressBits-1:0] AddressHold = 9'h078;
  localparam logic [AddressBits-1:0] AddressReadBytes = 9'h080;
  localparam logic [AddressBits-1:0] AddressWriteBytes = 9'h088;
  localparam logic [AddressBits-1:0] AddressSaturated = 9'h090;
  localparam logic [AddressBits-1:0] AddressBuiltPox = 9'h100;
  localparam logic [AddressBits-1:0] AddressBuiltPoy = 9'h104;
  localparam logic [AddressBits-1:0] AddressBuiltPof = 9'h108;
  localparam logic [AddressBits-1:0] AddressBuiltBeatBytes = 9'h10c;
  localparam logic [AddressBits-1:0] AddressBuiltPages = 9'h110;
  localparam logic [AddressBits-1:0] AddressBuiltPageDepth = 9'h114;
  localparam logic [AddressBits-1:0] AddressBuiltWeightDepth = 9'h118;
  localparam logic [AddressBits-1:0] AddressBuiltParameterDepth = 9'h11c;
  localparam logic [AddressBits-1:0] AddressBuiltKernelColumns = 9'h120;
  localparam logic [AddressBits-1:0] AddressBuiltStrideColumns = 9'h124;
  localparam logic [AddressBits-1:0] AddressBuiltShortcutStride = 9'h128;
  localparam logic [AddressBits-1:0] AddressBuiltPoolColumns = 9'h12c;
  localparam logic [AddressBits-1:0] AddressBuiltPoolStride = 9'h130;
  localparam logic [AddressBits-1:0] AddressBuiltPoolDilation = 9'h134;
  localparam logic [AddressBits-1:0] AddressBuiltRowByRow = 9'h138;
  localparam logic [AddressBits-1:0] AddressBuiltGrouped = 9'h13c;
  localparam logic [AddressBits-1:0] AddressBuiltLeaky = 9'h140;
  localparam logic [AddressBits-1:0] AddressBuiltLoadCommands = 9'h144;
  localparam logic [AddressBits-1:0] AddressBuiltComputeCommands = 9'h148;
  localparam logic [AddressBits-1:0] AddressBuiltStoreCommands = 9'h14c;

  // Codes in ERROR.
  typedef enum logic [3:0] {
    ErrorNone = 4'd0,
    ErrorHeader = 4'd1,
    ErrorChecksum = 4'd2,
    ErrorCommand = 4'd3,
    ErrorRead = 4'd4,
    ErrorWrite = 4'd5,
    ErrorLast = 4'd6,
    ErrorStart = 4'd7,
    ErrorWatchdog = 4'd8,
    ErrorBase = 4'd9
  } error_e;

  // What the host has written.
  typedef struct packed {
    logic [63:0] output_stride;  // bytes from one image's outputs to the next's, a multiple of 4 KiB
    logic [63:0] input_stride;  // bytes from one image to the next, a multiple of 4 KiB
    logic [63:0] feature_base;  // where feature maps between layers go
    logic [63:0] output_base;  // where the outputs of the first image go
    logic [63:0] input_base;  // where the first image lies
    logic [63:0] parameter_base;  // where weights.bin lies
    logic [63:0] program_base;  // where program.bin lies, a multiple of 4 KiB, like all bases
    logic [31:0] watchdog;  // most cycles without a completed command or a beat before an error; 0: none
    logic [31:0] images;  // images of a start
    logic [31:0] irq_enable;  // events that raise the interrupt
  } stored_t;

  // What the host reads and does not write.
  typedef struct packed {
    logic [31:0] built_store_commands;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_compute_commands;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_load_commands;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_leaky;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_grouped;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_row_by_row;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_pool_dilation;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_pool_stride;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_pool_columns;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_shortcut_stride;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_stride_columns;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_kernel_columns;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_parameter_depth;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_weight_depth;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_page_depth;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_pages;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_beat_bytes;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_pof;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_poy;  // what the accelerator is built for: a word of a program's header
    logic [31:0] built_pox;  // what the accelerator is built for: a word of a program's header
    logic [63:0] saturated;  // stored values of the last image that were saturated
    logic [63:0] write_bytes;  // bytes written in the last image
    logic [63:0] read_bytes;  // bytes read in the last image
    logic [63:0] hold;  // cycles of the last image in which the array waited for the drain
    logic [63:0] busy_store;  // the same of STORE
    logic [63:0] busy_compute;  // the same of COMPUTE
    logic [63:0] busy_load;  // cycles of the last image in which LOAD executed a command
    logic [63:0] cycles;  // cycles of the last image
    logic [31:0] images_done;  // images of this start that are done
    logic [31:0] irq_status;  // events that have happened; writing 1 clears
    logic [31:0] error;  // the first error since reset
    logic [31:0] status;  // what the accelerator does
  } shown_t;

  // The word at an address; 0 where there is none.
  function automatic logic [31:0] word_at(logic [AddressBits-1:0] address, stored_t stored, shown_t shown);
    case (address)
      9'h00c: return stored.irq_enable[31:0];
      9'h014: return stored.images[31:0];
      9'h01c: return stored.watchdog[31:0];
      9'h020: return stored.program_base[31:0];
      9'h024: return stored.program_base[63:32];
      9'h028: return stored.parameter_base[31:0];
      9'h02c: return stored.parameter_base[63:32];
      9'h030: return stored.input_base[31:0];
      9'h034: return stored.input_base[63:32];
      9'h038: return stored.output_base[31:0];
      9'h03c: return stored.output_base[63:32];
      9'h040: return stored.feature_base[31:0];
      9'h044: return stored.feature_base[63:32];
      9'h048: return stored.input_stride[31:0];
      9'h04c: return stored.input_stride[63:32];
      9'h050: return stored.output_stride[31:0];
      9'h054: return stored.output_stride[63:32];
      9'h004: return shown.status[31:0];
      9'h008: return shown.error[31:0];
      9'h010: return shown.irq_status[31:0];
      9'h018: return shown.images_done[31:0];
      9'h058: return shown.cycles[31:0];
      9'h05c: return shown.cycles[63:32];
      9'h060: return shown.busy_load[31:0];
      9'h064: return shown.busy_load[63:32];
      9'h068: return shown.busy_compute[31:0];
      9'h06c: return shown.busy_compute[63:32];
      9'h070: return shown.busy_store[31:0];
      9'h074: return shown.busy_store[63:32];
      9'h078: return shown.hold[31:0];
      9'h07c: return shown.hold[63:32];
      9'h080: return shown.read_bytes[31:0];
      9'h084: return shown.read_bytes[63:32];
      9'h088: return shown.write_bytes[31:0];
      9'h08c: return shown.write_bytes[63:32];
      9'h090: return shown.saturated[31:0];
      9'h094: return shown.saturated[63:32];
      9'h100: return shown.built_pox[31:0];
      9'h104: return shown.built_poy[31:0];
      9'h108: return shown.built_pof[31:0];
      9'h10c: return shown.built_beat_bytes[31:0];
      9'h110: return shown.built_pages[31:0];
      9'h114: return shown.built_page_depth[31:0];
      9'h118: return shown.built_weight_depth[31:0];
      9'h11c: return shown.built_parameter_depth[31:0];
      9'h120: return shown.built_kernel_columns[31:0];
      9'h124: return shown.built_stride_columns[31:0];
      9'h128: return shown.built_shortcut_stride[31:0];
      9'h12c: return shown.built_pool_columns[31:0];
      9'h130: return shown.built_pool_stride[31:0];
      9'h134: return shown.built_pool_dilation[31:0];
      9'h138: return shown.built_row_by_row[31:0];
      9'h13c: return shown.built_grouped[31:0];
      9'h140: return shown.built_leaky[31:0];
      9'h144: return shown.built_load_commands[31:0];
      9'h148: return shown.built_compute_commands[31:0];
      9'h14c: return shown.built_store_commands[31:0];
      default: return '0;
    endcase
  endfunction

  // The stored registers after a write of the bytes under `strobe`.
  function automatic stored_t written(stored_t stored, logic [AddressBits-1:0] address,
                                      logic [31:0] data, logic [3:0] strobe);
    stored_t result;
    result = stored;
    for (int i = 0; i < 4; i++) begin
      // Bytes that keep their value do so by a register's enable.
      if (strobe[i]) begin
        case (address)
          9'h00c: result.irq_enable[8*i +: 8] = data[8*i +: 8];
          9'h014: result.images[8*i +: 8] = data[8*i +: 8];
          9'h01c: result.watchdog[8*i +: 8] = data[8*i +: 8];
          9'h020: result.program_base[8*i +: 8] = data[8*i +: 8];
          9'h024: result.program_base[32 + 8*i +: 8] = data[8*i +: 8];
          9'h028: result.parameter_base[8*i +: 8] = data[8*i +: 8];
          9'h02c: result.parameter_base[32 + 8*i +: 8] = data[8*i +: 8];
          9'h030: result.input_base[8*i +: 8] = data[8*i +: 8];
          9'h034: result.input_base[32 + 8*i +: 8] = data[8*i +: 8];
          9'h038: result.output_base[8*i +: 8] = data[8*i +: 8];
          9'h03c: result.output_base[32 + 8*i +: 8] = data[8*i +: 8];
          9'h040: result.feature_base[8*i +: 8] = data[8*i +: 8];
          9'h044: result.feature_base[32 + 8*i +: 8] = data[8*i +: 8];
          9'h048: result.input_stride[8*i +: 8] = data[8*i +: 8];
          9'h04c: result.input_stride[32 + 8*i +: 8] = data[8*i +: 8];
          9'h050: result.output_stride[8*i +: 8] = data[8*i +: 8];
          9'h054: result.output_stride[32 + 8*i +: 8] = data[8*i +: 8];
          default: ;
        endcase
      end
    end
    return result;
  endfunction

endpackage
