// Made by `python -m cgap.backends.rtl.packages` from fpga_model/machine/isa.py. Do not edit.

// The commands of the three units. Fields are declared from the highest bit down, so the last is bit 0.
package command_pkg;

  localparam int unsigned ProgramWordBits = 64;
  localparam int unsigned LoadWords = 6;
  localparam int unsigned ComputeWords = 16;
  localparam int unsigned StoreWords = 6;

  typedef enum logic [2:0] {
    OpcodeLoad = 3'd1,
    OpcodeStore = 3'd2,
    OpcodeConvolve = 3'd3,
    OpcodePool = 3'd4
  } opcode_e;

  // what every command begins with.
  typedef struct packed {
    logic [23:0] wait_store;  // STORE commands of this image that must have completed
    logic [23:0] wait_compute;  // COMPUTE commands of this image that must have completed
    logic [23:0] wait_load;  // LOAD commands of this image that must have completed
    logic last;  // 1: the unit's last command of an image
    logic [15:0] layer;  // index of the layer, the input being 0
    logic [2:0] opcode;  // the kind of command
  } header_t;

  // A DRAM access: `runs` runs of `beats` beats, `stride` bytes apart.
  typedef struct packed {
    logic [15:0] runs;  // runs
    logic [31:0] stride;  // bytes from one run to the next
    logic [23:0] beats;  // beats of a run
    logic [31:0] address;  // first byte, counted from the region's base
    logic [1:0] region;  // base register: 0 parameters, 1 input, 2 output, 3 feature maps
  } transfer_t;

  // A place in a feature page, and how to go on from it to the next bank, row group or map.
  typedef struct packed {
    logic [19:0] map_words;  // words from one map to the next
    logic [19:0] group_words;  // words from one group of interleave x Poy rows to the next
    logic [7:0] interleave;  // rows that follow one another in a bank
    logic [7:0] remainder;  // place of the row among the `interleave` rows that follow one another in its bank
    logic [7:0] bank;  // bank of the row
    logic signed [19:0] address;  // word in the bank; negative in rows above the tile, which are never accessed
    logic [3:0] page;  // feature page
  } walk_t;

  // How a walk moves by a fixed number of rows.
  typedef struct packed {
    logic signed [19:0] address;  // added to the address
    logic [7:0] bank;  // added to the bank
    logic [7:0] remainder;  // added to the remainder
  } row_step_t;

  // Words of feature maps in the order in which DRAM holds them: map by map, row by row.
  typedef struct packed {
    logic [15:0] rows;  // rows of a map
    logic [11:0] row_words;  // words of a row
    row_step_t row;  // step to the next row
    walk_t place;  // place of the first row
  } tile_t;

  // The feature words under a group of `Pox` neighbouring windows, and how they move from group to group.
  typedef struct packed {
    logic [11:0] row_words;  // words of a row; those outside count as zero and are not read
    logic [5:0] words;  // words that a group touches at most
    logic [7:0] stride;  // pixels from one window to the next
    logic [15:0] step;  // pixels from one group to the next: Pox x the stride of columns
    logic [7:0] offset;  // pixel of that word under the first window's first column
    logic signed [11:0] word;  // first word of a row under the first group; negative left of the row
  } columns_t;

  // The rows of a tensor under a window, to tell rows outside of it.
  typedef struct packed {
    logic [15:0] height;  // rows of the tensor
    logic [7:0] dilation;  // rows from one row of a window to the next
    logic [7:0] stride;  // rows from one output row to the next
    logic signed [17:0] top;  // first row under the first output row, in the whole tensor; negative above it
  } rows_t;

  // Where a COMPUTE command writes its maps.
  typedef struct packed {
    logic packed_;  // 1: maps of one pixel, 2 x Pox of them in a word, in bank 0
    row_step_t row;  // step to the next row
    walk_t place;  // place of its first row of its first map
  } destination_t;

  // The tensor that a convolution adds in its accumulators. Without one, all is zero.
  typedef struct packed {
    logic signed [6:0] delta;  // a pixel is shifted left by the record's shift minus this
    logic [11:0] row_words;  // words of a row; those beyond are not read
    logic [3:0] words;  // words read for one row of a group
    logic [7:0] stride;  // pixels from one output column to the next
    logic [15:0] step;  // pixels from one group of columns to the next: Pox x stride
    row_step_t row;  // step to the row that the next output row adds
    walk_t place;  // place of the row that the first output row adds, in the map of output map `first`
    logic [15:0] maps;  // output maps from there on that get one
    logic [15:0] first;  // first output map of the tile that gets one
    logic present;  // 1: there is one
  } shortcut_t;

  // DRAM to the feature pages (`tile`) or to words of the weight or parameter buffer, from `word` on.
  typedef struct packed {
    logic [7:0] padding;  // to whole words
    tile_t tile;  // where feature maps go
    logic [23:0] word;  // first word of the weight or parameter buffer, at a whole beat
    logic [1:0] buffer;  // 0 feature pages, 1 weights, 2 parameter records
    transfer_t dram;  // what is read
    logic [23:0] wait_store;  // STORE commands of this image that must have completed
    logic [23:0] wait_compute;  // COMPUTE commands of this image that must have completed
    logic [23:0] wait_load;  // LOAD commands of this image that must have completed
    logic last;  // 1: the unit's last command of an image
    logic [15:0] layer;  // index of the layer, the input being 0
    logic [2:0] opcode;  // the kind of command
  } load_t;

  // Feature pages to DRAM.
  typedef struct packed {
    logic [33:0] padding;  // to whole words
    tile_t tile;  // what is read; a packed tile is one row
    transfer_t dram;  // where it is written
    logic [23:0] wait_store;  // STORE commands of this image that must have completed
    logic [23:0] wait_compute;  // COMPUTE commands of this image that must have completed
    logic [23:0] wait_load;  // LOAD commands of this image that must have completed
    logic last;  // 1: the unit's last command of an image
    logic [15:0] layer;  // index of the layer, the input being 0
    logic [2:0] opcode;  // the kind of command
  } store_t;

  // A tile of a convolution: `Tof` output maps of `Toy` rows, in groups of Pof maps, Poy rows and Pox columns.
  typedef struct packed {
    logic [94:0] padding;  // to whole words
    shortcut_t shortcut;  // what is added before the rounding
    destination_t destination;  // where results go
    rows_t rows;  // rows under the kernel
    columns_t columns;  // words under the kernel
    row_step_t source_stride;  // step to the row under the next output row, where rows are read one by one
    row_step_t source_row;  // step to the row under the next row of the kernel
    walk_t source;  // place of the first input map's row under the first output row
    logic [4:0] leak;  // negative sums are shifted right by this much more
    logic signed [7:0] high;  // greatest result
    logic signed [7:0] low;  // least result
    logic [23:0] parameters;  // record of the first output map
    logic [23:0] weights;  // first weight word
    logic [15:0] group_left;  // of those, what is left from the tile's first output map on
    logic [15:0] Gof;  // output maps that share their input maps
    logic row_by_row;  // 1: rows of a group are read one after the other, 0: all at once
    logic [15:0] fetch;  // reads of a step: words under a group, once or row by row
    logic [15:0] step;  // cycles of a step: one input map and kernel row
    logic [11:0] Nkx;  // columns of the kernel: waves of a step
    logic [11:0] Nky;  // rows of the kernel
    logic [15:0] Nif;  // input maps that an output map sums over
    logic [13:0] column_groups;  // groups of Pox columns
    logic [15:0] Nox;  // output columns
    logic [15:0] Toy;  // output rows
    logic [15:0] Tof;  // output maps
    logic [23:0] wait_store;  // STORE commands of this image that must have completed
    logic [23:0] wait_compute;  // COMPUTE commands of this image that must have completed
    logic [23:0] wait_load;  // LOAD commands of this image that must have completed
    logic last;  // 1: the unit's last command of an image
    logic [15:0] layer;  // index of the layer, the input being 0
    logic [2:0] opcode;  // the kind of command
  } convolve_t;

  // A tile of a pooling or a copy: `Tof` maps of `Toy` rows, Pox columns of one row at a time.
  typedef struct packed {
    logic [402:0] padding;  // to whole words
    destination_t destination;  // where results go
    rows_t rows;  // rows under the windows
    columns_t columns;  // words under the windows
    row_step_t source_stride;  // step to the row under the next output row
    row_step_t source_row;  // step to the next row of a window
    walk_t source;  // place of the first map's row under the first output row
    logic [15:0] width;  // columns of the tensor; those beyond count for nothing
    logic [7:0] dilation;  // columns from one column of a window to the next
    logic [15:0] step;  // cycles of a group: max(Nky x words, Nkx, 2)
    logic [11:0] Nkx;  // columns of a window
    logic [11:0] Nky;  // rows of a window
    logic [13:0] column_groups;  // groups of Pox columns
    logic [15:0] Nox;  // output columns
    logic [15:0] Toy;  // output rows
    logic [15:0] Tof;  // output maps
    logic [4:0] shift;  // a sum is rounded by this shift
    logic maximum;  // 1: the greatest pixel of a window, 0: their sum
    logic [23:0] wait_store;  // STORE commands of this image that must have completed
    logic [23:0] wait_compute;  // COMPUTE commands of this image that must have completed
    logic [23:0] wait_load;  // LOAD commands of this image that must have completed
    logic last;  // 1: the unit's last command of an image
    logic [15:0] layer;  // index of the layer, the input being 0
    logic [2:0] opcode;  // the kind of command
  } pool_t;

endpackage
