// The host's registers on AXI4-Lite. What is where, register_pkg says; one access of each kind at a time.
module registers (
  input  logic                                 clk_i,
  input  logic                                 rst_ni,
  input  logic                                 aw_valid_i,
  output logic                                 aw_ready_o,
  input  logic [register_pkg::AddressBits-1:0] aw_addr_i,
  input  logic                                 w_valid_i,
  output logic                                 w_ready_o,
  input  logic [31:0]                          w_data_i,
  input  logic [3:0]                           w_strb_i,
  output logic                                 b_valid_o,
  input  logic                                 b_ready_i,
  input  logic                                 ar_valid_i,
  output logic                                 ar_ready_o,
  input  logic [register_pkg::AddressBits-1:0] ar_addr_i,
  output logic                                 r_valid_o,
  input  logic                                 r_ready_i,
  output logic [31:0]                          r_data_o,
  // To the accelerator: bits of CTRL for one cycle, stored registers, the interrupt.
  output logic [2:0]                           pulse_o,
  output register_pkg::stored_t                stored_o,
  output logic                                 irq_o,
  // From the accelerator; irq_status of it is kept here.
  input  register_pkg::shown_t                 shown_i,
  input  logic [1:0]                           event_i
);

  import register_pkg::*;

  stored_t stored_q;
  shown_t shown;
  logic [1:0] irq_q;
  logic b_valid_q, r_valid_q, write, read;
  logic [2:0] pulse_q;
  logic [31:0] r_data_q;
  logic [AddressBits-1:0] w_addr, r_addr;

  // Address and data of a write are taken together.
  assign write = aw_valid_i && w_valid_i && !b_valid_q;
  assign read = ar_valid_i && !r_valid_q;
  assign aw_ready_o = write;
  assign w_ready_o = write;
  assign ar_ready_o = read;
  assign w_addr = {aw_addr_i[AddressBits-1:2], 2'b00};
  assign r_addr = {ar_addr_i[AddressBits-1:2], 2'b00};

  always_comb begin
    shown = shown_i;
    shown.irq_status = 32'(irq_q);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      stored_q <= '0;
      irq_q <= '0;
      b_valid_q <= 1'b0;
      r_valid_q <= 1'b0;
      r_data_q <= '0;
      pulse_q <= '0;
    end else begin
      b_valid_q <= write || (b_valid_q && !b_ready_i);
      r_valid_q <= read || (r_valid_q && !r_ready_i);
      if (read) r_data_q <= word_at(r_addr, stored_q, shown);
      pulse_q <= '0;
      irq_q <= irq_q | event_i;
      if (write) begin
        stored_q <= written(stored_q, w_addr, w_data_i, w_strb_i);
        if (w_addr == AddressCtrl) pulse_q <= w_data_i[2:0] & {3{w_strb_i[0]}};
        if (w_addr == AddressIrqStatus) irq_q <= (irq_q & ~(w_data_i[1:0] & {2{w_strb_i[0]}})) | event_i;
      end
    end
  end

  assign b_valid_o = b_valid_q;
  assign r_valid_o = r_valid_q;
  assign r_data_o = r_data_q;
  assign pulse_o = pulse_q;
  assign stored_o = stored_q;
  assign irq_o = |(irq_q & stored_q.irq_enable[1:0]);

  logic unused;
  assign unused = ^{aw_addr_i[1:0], ar_addr_i[1:0], shown_i.irq_status};

endmodule
