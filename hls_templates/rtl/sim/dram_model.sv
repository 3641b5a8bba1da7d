// A DRAM behind two AXI4 ports that keeps the bus timing of docs/microarchitecture.md, sections 4, 7 and 12. For simulation.
//
// Figures of the platform are set at run time: latencies, gap (cycles of a burst), interval (of a beat, in 1/256 cycle).
// So are faults: read_fault=N and write_fault=N answer the Nth beat or burst (from 1) with an error, last_fault=N
// misplaces RLAST, mute=N never answers from the Nth read burst on, dropped_burst=N loses the data of the Nth write burst.
module dram_model #(
  parameter int unsigned BeatBytes = 16,
  parameter int unsigned MemoryBytes = 1 << 24
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  // Channels AR, R, AW, W, B (from bit 0) on which nothing happens in the next cycle.
  input  logic [4:0]             stall_i,
  input  logic                   ar_valid_i,
  output logic                   ar_ready_o,
  input  logic [63:0]            ar_addr_i,
  input  logic [7:0]             ar_len_i,
  output logic                   r_valid_o,
  input  logic                   r_ready_i,
  output logic [BeatBytes*8-1:0] r_data_o,
  output logic [1:0]             r_resp_o,
  output logic                   r_last_o,
  input  logic                   aw_valid_i,
  output logic                   aw_ready_o,
  input  logic [63:0]            aw_addr_i,
  input  logic [7:0]             aw_len_i,
  input  logic                   w_valid_i,
  output logic                   w_ready_o,
  input  logic [BeatBytes*8-1:0] w_data_i,
  input  logic                   w_last_i,
  output logic                   b_valid_o,
  input  logic                   b_ready_i,
  output logic [1:0]             b_resp_o
);

  localparam logic [1:0] ResponseError = 2'b10;

  typedef struct {
    longint unsigned ready;  // first cycle in which its data may come
    longint unsigned address;
    int unsigned beats;
  } burst_t;

  byte unsigned mem [MemoryBytes];

  longint unsigned read_latency, write_latency, gap, interval;
  longint unsigned read_fault, write_fault, last_fault, mute, dropped_burst;

  initial begin
    read_latency = 40;
    write_latency = 20;
    gap = 2;
    interval = 256;
    read_fault = 0;
    write_fault = 0;
    last_fault = 0;
    mute = 0;
    dropped_burst = 0;
  end

  // Sets a figure or a fault; beats and bursts of faults count from here on. Returns 0 if there is none of that name.
  function automatic bit set_figure(string name, longint unsigned value);
    case (name)
      "read_latency": read_latency = value;
      "write_latency": write_latency = value;
      "gap": gap = value;
      "interval": interval = value;
      "read_fault": read_fault = value;
      "write_fault": write_fault = value;
      "last_fault": last_fault = value;
      "mute": mute = value;
      "dropped_burst": dropped_burst = value;
      default: return 1'b0;
    endcase
    read_beats = 0;
    read_bursts = 0;
    write_bursts = 0;
    write_count = 0;
    return 1'b1;
  endfunction

  function automatic longint unsigned later(longint unsigned one, longint unsigned other);
    return (one > other) ? one : other;
  endfunction

  longint unsigned now;  // number of the cycle that ends with the clock's edge

  // --- reads -------------------------------------------------------------------------------------------------------

  burst_t reads [$];
  longint unsigned read_first, read_free;  // of the burst at the head; and first cycle in which the next may begin
  longint unsigned read_beats, read_bursts;  // of all
  int unsigned read_index;
  logic reading;

  always @(posedge clk_i) begin
    if (!rst_ni) begin
      now = 0;
      reads.delete();
      reading = 1'b0;
      read_free = 0;
      read_beats = 0;
      read_bursts = 0;
      ar_ready_o <= 1'b1;
      r_valid_o <= 1'b0;
    end else begin
      ar_ready_o <= !stall_i[0];
      if (ar_valid_i && ar_ready_o) begin
        read_bursts++;
        if (mute == 0 || read_bursts < mute) begin
          burst_t burst;
          burst.ready = now + read_latency;
          burst.address = ar_addr_i;
          burst.beats = 32'(ar_len_i) + 1;
          reads.push_back(burst);
        end
      end
      if (!(r_valid_o && !r_ready_i)) begin
        r_valid_o <= 1'b0;
        if (!reading && reads.size() != 0) begin
          read_first = (reads[0].ready > read_free) ? reads[0].ready : read_free;
          read_index = 0;
          reading = 1'b1;
        end
        if (reading && !stall_i[1] && now + 1 >= read_first + 64'(read_index) * interval / 256) begin
          if (read_index == 0) read_first = now + 1;
          read_beats++;
          r_valid_o <= 1'b1;
          r_resp_o <= (read_beats == read_fault) ? ResponseError : 2'b00;
          for (int unsigned i = 0; i < BeatBytes; i++) begin
            r_data_o[i*8 +: 8] <= mem[reads[0].address + 64'(read_index * BeatBytes + i)];
          end
          read_index++;
          r_last_o <= (read_index == reads[0].beats) != (read_beats == last_fault);
          if (read_index == reads[0].beats) begin
            read_free = later(read_first + (64'(read_index) * interval + 255) / 256, now + 2) + gap;
            reading = 1'b0;
            void'(reads.pop_front());
          end
        end
      end
      now++;
    end
  end

  // --- writes ------------------------------------------------------------------------------------------------------

  burst_t writes [$];
  longint unsigned answers [$];
  longint unsigned clock, write_first, write_next;  // write_next: first cycle in which a beat is taken
  longint unsigned write_bursts, write_count;  // answered, and begun
  int unsigned write_index;

  always @(posedge clk_i) begin
    if (!rst_ni) begin
      clock = 0;
      writes.delete();
      answers.delete();
      write_next = 0;
      write_index = 0;
      write_bursts = 0;
      write_count = 0;
      aw_ready_o <= 1'b1;
      w_ready_o <= 1'b0;
      b_valid_o <= 1'b0;
    end else begin
      aw_ready_o <= !stall_i[2];
      if (aw_valid_i && aw_ready_o) begin
        burst_t burst;
        burst.ready = 0;
        burst.address = aw_addr_i;
        burst.beats = 32'(aw_len_i) + 1;
        writes.push_back(burst);
      end
      if (w_valid_i && w_ready_o) begin
        if (write_index == 0) begin
          write_first = clock;
          write_count++;
        end
        if (write_count != dropped_burst) begin
          for (int unsigned i = 0; i < BeatBytes; i++) begin
            mem[writes[0].address + 64'(write_index * BeatBytes + i)] = w_data_i[i*8 +: 8];
          end
        end
        write_index++;
        write_next = write_first + 64'(write_index) * interval / 256;
        if (w_last_i != (write_index == writes[0].beats)) $error("WLAST is out of place");
        if (write_index == writes[0].beats) begin
          write_next = later(write_first + (64'(write_index) * interval + 255) / 256, clock + 1) + gap;
          write_index = 0;
          void'(writes.pop_front());
          answers.push_back(clock + write_latency);
        end
      end
      // A beat is taken at the earliest in the cycle after its burst's address.
      w_ready_o <= !stall_i[3] && clock + 1 >= write_next && writes.size() != 0;
      if (!(b_valid_o && !b_ready_i)) begin
        b_valid_o <= 1'b0;
        if (!stall_i[4] && answers.size() != 0 && clock + 1 >= answers[0]) begin
          write_bursts++;
          b_valid_o <= 1'b1;
          b_resp_o <= (write_bursts == write_fault) ? ResponseError : 2'b00;
          void'(answers.pop_front());
        end
      end
      clock++;
    end
  end

endmodule
