// Made by `python -m cgap.backends.rtl.packages` from fpga_model/machine/program.py. Do not edit.

// The header of a program: 32-bit words, each compared with the accelerator's own.
package program_pkg;

  localparam logic [31:0] Magic = 32'h50414743;
  localparam logic [31:0] Version = 32'd2;
  localparam int unsigned HeaderBytes = 128;
  localparam int unsigned HeaderWords = 28;

  // Index of each word.
  localparam int unsigned WordMagic = 0;  // 0x50414743, the bytes CGAP
  localparam int unsigned WordVersion = 1;  // of this format: 2
  localparam int unsigned WordBytes = 2;  // of the whole program, header included
  localparam int unsigned WordCrc = 3;  // CRC-32 (IEEE 802.3) of all bytes, those of this field counted as zero
  localparam int unsigned WordGeometryPox = 4;  // output columns computed at once
  localparam int unsigned WordGeometryPoy = 5;  // output rows computed at once
  localparam int unsigned WordGeometryPof = 6;  // output maps computed at once
  localparam int unsigned WordGeometryBeatBytes = 7;  // bytes of an AXI beat
  localparam int unsigned WordSizesPages = 8;  // feature pages
  localparam int unsigned WordSizesPageDepth = 9;  // words of a bank
  localparam int unsigned WordSizesWeightDepth = 10;  // weight words
  localparam int unsigned WordSizesParameterDepth = 11;  // parameter records
  localparam int unsigned WordNeedsKernelColumns = 12;  // columns of a convolution's kernel
  localparam int unsigned WordNeedsStrideColumns = 13;  // columns from one window of a convolution to the next
  localparam int unsigned WordNeedsShortcutStride = 14;  // columns from one pixel of a shortcut to the next
  localparam int unsigned WordNeedsPoolColumns = 15;  // columns that a pooling window spans, dilation included
  localparam int unsigned WordNeedsPoolStride = 16;  // columns from one pooling window to the next
  localparam int unsigned WordNeedsPoolDilation = 17;  // columns from one column of a pooling window to the next
  localparam int unsigned WordNeedsRowByRow = 18;  // 1: row strides other than the interleave of what is read
  localparam int unsigned WordNeedsGrouped = 19;  // 1: grouped convolutions
  localparam int unsigned WordNeedsLeaky = 20;  // 1: leaky ReLU
  localparam int unsigned WordNeedsLoadCommands = 21;  // LOAD commands of a program
  localparam int unsigned WordNeedsComputeCommands = 22;  // COMPUTE commands of a program
  localparam int unsigned WordNeedsStoreCommands = 23;  // STORE commands of a program
  localparam int unsigned WordRegionsParameterBytes = 24;  // weights.bin
  localparam int unsigned WordRegionsInputBytes = 25;  // one image
  localparam int unsigned WordRegionsOutputBytes = 26;  // its outputs
  localparam int unsigned WordRegionsFeatureBytes = 27;  // feature maps between layers

  // What an accelerator is built for, in the order of the header's words.
  typedef struct packed {
    logic [31:0] store_commands;
    logic [31:0] compute_commands;
    logic [31:0] load_commands;
    logic [31:0] leaky;
    logic [31:0] grouped;
    logic [31:0] row_by_row;
    logic [31:0] pool_dilation;
    logic [31:0] pool_stride;
    logic [31:0] pool_columns;
    logic [31:0] shortcut_stride;
    logic [31:0] stride_columns;
    logic [31:0] kernel_columns;
    logic [31:0] parameter_depth;
    logic [31:0] weight_depth;
    logic [31:0] page_depth;
    logic [31:0] pages;
    logic [31:0] beat_bytes;
    logic [31:0] Pof;
    logic [31:0] Poy;
    logic [31:0] Pox;
  } built_t;

  localparam int unsigned FirstBuilt = WordGeometryPox;
  localparam int unsigned GeometryWords = 4;  // these must be equal
  localparam int unsigned BuiltWords = 20;  // the others must not be exceeded

endpackage
