// Loads program.bin: the header, which is compared with what this accelerator is built for, then the commands of LOAD,
// COMPUTE and STORE, each unit's into its program memory, with a checksum over them (docs/microarchitecture.md, section 9).
//
// LOAD fetches 128 bytes at a time; they are then taken 64 bits a cycle, in steps between registers:
//   take     the next word of the chunk
//   use      write it or keep what the header says; compare it with what is built, and sum it for the checksum
//   settle   the header's errors are known; the sum goes into the checksum
module program_loader #(
  parameter int unsigned BeatBytes = 16,
  parameter program_pkg::built_t Built = '0,
  parameter int unsigned LoadWords = 6,
  parameter int unsigned ComputeWords = 16,
  parameter int unsigned StoreWords = 6
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   start_i,
  input  logic                   halt_i,
  // Back to idle at once; a program that was loaded stays.
  input  logic                   clear_i,
  output logic                   busy_o,
  // A sound program is in the program memories.
  output logic                   loaded_o,
  output logic                   header_error_o,
  output logic                   checksum_error_o,
  // Index of the header's word that was refused.
  output logic [4:0]             header_word_o,
  // Commands of LOAD, COMPUTE and STORE.
  output logic [2:0][31:0]       commands_o,
  // LOAD, which fetches for the loader.
  output logic                   load_start_o,
  output command_pkg::load_t     load_command_o,
  input  logic                   load_done_i,
  input  logic                   beat_en_i,
  input  logic [BeatBytes*8-1:0] beat_data_i,
  // Program memories of LOAD, COMPUTE and STORE.
  output logic [2:0]             w_en_o,
  output logic [31:0]            w_addr_o,
  output logic [63:0]            w_data_o
);

  import program_pkg::*;

  localparam int unsigned ChunkBytes = HeaderBytes;
  localparam int unsigned ChunkWords = ChunkBytes / 8;

  typedef enum logic [2:0] {
    StIdle,
    StRequest,
    StReceive,
    StTake,
    StNext,
    StSettle,
    StCheck
  } state_e;

  state_e state_q;
  logic [ChunkBytes*8-1:0] chunk_q;
  logic [3:0] index_q;
  logic header_q, loaded_q;
  logic [31:0] fetched_q;  // bytes fetched
  logic [31:0] bytes_q, crc_expected_q, crc_q;
  logic [2:0][31:0] commands_q;
  logic [1:0] unit_q;
  logic [31:0] left_q, address_q;  // words of the unit left to take, and where the next one is written
  logic taking;

  assign taking = state_q == StTake;

  // --- the word that is used ---------------------------------------------------------------------------------------

  logic [63:0] word_q;
  logic [3:0] used_q;  // its index in the chunk
  logic using_q, using_header_q, using_command_q, using_crc_q;
  logic [4:0] low_index, high_index;

  always_ff @(posedge clk_i) begin
    word_q <= chunk_q[63:0];
    used_q <= index_q;
    using_q <= taking;
    using_header_q <= taking && header_q;
    using_command_q <= taking && !header_q && left_q != '0;
    using_crc_q <= taking && header_q && index_q == 4'(WordCrc / 2);
  end

  assign low_index = {used_q, 1'b0};
  assign high_index = {used_q, 1'b1};

  // --- checksum: CRC-32 of IEEE 802.3, eight bytes at once ----------------------------------------------------------

  // As it is defined, bit by bit; it is linear, so its values for single bits say what a bit contributes.
  function automatic logic [31:0] crc_of(logic [31:0] crc, logic [63:0] data);
    logic [31:0] sum;
    sum = crc;
    for (int i = 0; i < 64; i++) begin
      sum = (sum >> 1) ^ ((sum[0] ^ data[i]) ? 32'hedb88320 : 32'h0);
    end
    return sum;
  endfunction

  // For each bit of the next checksum the bits of {data, checksum} whose sum it is.
  function automatic logic [31:0][95:0] crc_masks();
    logic [31:0][95:0] masks;
    logic [31:0] contributed;
    for (int i = 0; i < 96; i++) begin
      contributed = crc_of(32'(96'd1 << i), 64'((96'd1 << i) >> 32));
      for (int bit_ = 0; bit_ < 32; bit_++) masks[bit_][i] = contributed[bit_];
    end
    return masks;
  endfunction

  localparam logic [31:0][95:0] CrcMasks = crc_masks();

  logic [63:0] summed;
  logic [31:0] data_sum_q, crc_sum;
  logic summed_q;

  // The word that holds the checksum counts as zero.
  assign summed = {using_crc_q ? 32'h0 : word_q[63:32], word_q[31:0]};

  always_ff @(posedge clk_i) begin
    for (int i = 0; i < 32; i++) data_sum_q[i] <= ^(summed & CrcMasks[i][95:32]);
    summed_q <= using_q && busy_o;
    if (!busy_o) crc_q <= '1;
    else if (summed_q) crc_q <= crc_sum ^ data_sum_q;
  end

  always_comb begin
    for (int i = 0; i < 32; i++) crc_sum[i] = ^(crc_q & CrcMasks[i][31:0]);
  end

  // --- header ------------------------------------------------------------------------------------------------------

  localparam logic [31:0][31:0] Limits = 1024'(Built) << (32 * FirstBuilt);

  // Whether a word of the header is as it must be.
  function automatic logic accepted(logic [4:0] index, logic [31:0] value);
    if (index == 5'(WordMagic)) return value == Magic;
    if (index == 5'(WordVersion)) return value == Version;
    if (index < 5'(FirstBuilt)) return 1'b1;
    if (index < 5'(FirstBuilt + GeometryWords)) return value == Limits[index];
    if (index < 5'(FirstBuilt + BuiltWords)) return value <= Limits[index];
    return 1'b1;
  endfunction

  logic bad_low_q, bad_high_q, bad_length_q, bad_crc_q;
  logic [3:0] compared_q;
  logic checking, bad_header;

  always_ff @(posedge clk_i) begin
    bad_low_q <= using_header_q && busy_o && !accepted(low_index, word_q[31:0]);
    bad_high_q <= using_header_q && busy_o && !accepted(high_index, word_q[63:32]);
    compared_q <= used_q;
    bad_length_q <= fetched_q != bytes_q;
    bad_crc_q <= ~crc_q != crc_expected_q;
    if (using_header_q) begin
      if (low_index == 5'(WordBytes)) begin
        bytes_q <= word_q[31:0];
        crc_expected_q <= word_q[63:32];
      end
      for (int unsigned unit = 0; unit < 3; unit++) begin
        if (low_index == 5'(WordNeedsLoadCommands + unit)) commands_q[unit] <= word_q[31:0];
        if (high_index == 5'(WordNeedsLoadCommands + unit)) commands_q[unit] <= word_q[63:32];
      end
    end
  end

  assign checking = state_q == StCheck;
  assign bad_header = busy_o && (bad_low_q || bad_high_q) || checking && bad_length_q;
  assign header_error_o = bad_header;
  assign header_word_o = checking ? 5'(WordBytes) : {compared_q, !bad_low_q};
  assign checksum_error_o = checking && !bad_length_q && bad_crc_q;

  // A product with a constant as a sum of shifts: no multiplier is spent on it.
  function automatic logic [31:0] times(logic [31:0] value, int unsigned factor);
    logic [31:0] sum;
    sum = '0;
    for (int i = 0; i < 32; i++) if (factor[i]) sum = sum + (value << i);
    return sum;
  endfunction

  // Words of each unit's commands, long before they are asked for; the fourth unit is the end.
  logic [3:0][31:0] words_q;

  always_ff @(posedge clk_i) begin
    words_q[0] <= times(commands_q[0], LoadWords);
    words_q[1] <= times(commands_q[1], ComputeWords);
    words_q[2] <= times(commands_q[2], StoreWords);
    words_q[3] <= '0;
  end

  // --- control -----------------------------------------------------------------------------------------------------

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      loaded_q <= 1'b0;
    end else begin
      unique case (state_q)
        StIdle: begin
          if (start_i) begin
            state_q <= StRequest;
            loaded_q <= 1'b0;
          end
        end
        StRequest: state_q <= StReceive;
        StReceive: if (load_done_i) state_q <= StTake;
        StTake: begin
          if (index_q == 4'(ChunkWords - 1)) state_q <= StNext;
        end
        StNext: begin
          if (unit_q == 2'd3) begin
            state_q <= StSettle;
          end else if (left_q != '0) begin
            state_q <= StRequest;
          end
        end
        StSettle: state_q <= StCheck;
        StCheck: begin
          state_q <= StIdle;
          loaded_q <= !bad_length_q && !bad_crc_q;
        end
        default: state_q <= StIdle;
      endcase
      // What LOAD has asked for arrives first.
      if (bad_header || halt_i && (state_q != StReceive || load_done_i) || clear_i) state_q <= StIdle;
    end
  end

  always_ff @(posedge clk_i) begin
    if (using_command_q) address_q <= address_q + 32'd1;
    unique case (state_q)
      StIdle: begin
        fetched_q <= '0;
        header_q <= 1'b1;
        unit_q <= '0;
        left_q <= '0;
        address_q <= '0;
      end
      StRequest: begin
        index_q <= '0;
        fetched_q <= fetched_q + ChunkBytes;
      end
      StReceive: begin
        if (beat_en_i) chunk_q <= (ChunkBytes * 8)'({beat_data_i, chunk_q} >> (BeatBytes * 8));
      end
      StTake: begin
        chunk_q <= chunk_q >> 64;
        index_q <= index_q + 4'd1;
        if (!header_q && left_q != '0) left_q <= left_q - 32'd1;
      end
      StNext: begin
        // To the next unit, when this one has all its words; a unit may have none.
        if (header_q) begin
          header_q <= 1'b0;
          left_q <= words_q[0];
          address_q <= '0;
        end else if (left_q == '0 && unit_q != 2'd3) begin
          unit_q <= unit_q + 2'd1;
          left_q <= words_q[unit_q+2'd1];
          address_q <= '0;
        end
      end
      default: ;
    endcase
  end

  always_comb begin
    w_en_o = '0;
    if (using_command_q) w_en_o[unit_q] = 1'b1;
  end
  assign w_addr_o = address_q;
  assign w_data_o = word_q;

  always_comb begin
    load_command_o = '0;
    load_command_o.opcode = command_pkg::OpcodeLoad;
    load_command_o.dram.address = fetched_q;
    load_command_o.dram.beats = 24'(ChunkBytes / BeatBytes);
    load_command_o.dram.runs = 16'd1;
  end

  // The command must stay while it is executed; it counts up to the next chunk's when the loader asks for that.
  assign load_start_o = state_q == StRequest && !halt_i;
  assign busy_o = state_q != StIdle;
  assign loaded_o = loaded_q;
  assign commands_o = commands_q;

endmodule
