// Stands in for COMPUTE where only control and the bus are tested: a command takes as many cycles as +durations says.
module compute #(
  parameter int unsigned Pox = 8,
  parameter int unsigned Poy = 8,
  parameter int unsigned Pof = 4,
  parameter int unsigned Pages = 2,
  parameter int unsigned PageDepth = 512,
  parameter int unsigned WeightDepth = 32768,
  parameter int unsigned ParameterDepth = 1024,
  parameter int unsigned KernelColumns = 8,
  parameter int unsigned StrideColumns = 2,
  parameter int unsigned ShortcutStride = 2,
  parameter int unsigned PoolColumns = 16,
  parameter int unsigned PoolStride = 2,
  parameter int unsigned PoolDilation = 1,
  parameter bit RowByRow = 1'b1,
  parameter bit Grouped = 1'b1,
  parameter bit Leaky = 1'b1,
  localparam int unsigned PageBits = (Pages > 1) ? $clog2(Pages) : 1,
  localparam int unsigned BankBits = (Poy > 1) ? $clog2(Poy) : 1,
  localparam int unsigned AddressBits = (PageDepth > 1) ? $clog2(PageDepth) : 1,
  localparam int unsigned WeightAddressBits = (WeightDepth > 1) ? $clog2(WeightDepth) : 1,
  localparam int unsigned ParameterAddressBits = (ParameterDepth > 1) ? $clog2(ParameterDepth) : 1
) (
  input  logic                            clk_i,
  input  logic                            rst_ni,
  input  logic                            start_i,
  input  logic [1023:0]                   command_i,
  output logic                            done_o,
  output logic [Poy-1:0]                  a_en_o,
  output logic [PageBits-1:0]             a_page_o,
  output logic [Poy-1:0][AddressBits-1:0] a_addr_o,
  input  logic [Poy-1:0][2*Pox*8-1:0]     a_data_i,
  output logic                            b_en_o,
  output logic [PageBits-1:0]             b_page_o,
  output logic [BankBits-1:0]             b_bank_o,
  output logic [AddressBits-1:0]          b_addr_o,
  input  logic [2*Pox*8-1:0]              b_data_i,
  output logic                            w_en_o,
  output logic [PageBits-1:0]             w_page_o,
  output logic [BankBits-1:0]             w_bank_o,
  output logic [AddressBits-1:0]          w_addr_o,
  output logic [2*Pox-1:0]                w_be_o,
  output logic [2*Pox*8-1:0]              w_data_o,
  output logic                            wt_en_o,
  output logic [WeightAddressBits-1:0]    wt_addr_o,
  input  logic [Pof*8-1:0]                wt_data_i,
  output logic                            pr_en_o,
  output logic [ParameterAddressBits-1:0] pr_addr_o,
  input  logic [31:0]                     pr_data_i,
  output logic [$clog2(Pox+1)-1:0]        saturated_o,
  output logic                            hold_o
);

  int unsigned durations [65536];
  int unsigned index, left;
  string name;

  initial if ($value$plusargs("durations=%s", name)) $readmemh(name, durations);

  always @(posedge clk_i) begin
    if (!rst_ni) begin
      index <= 0;
      left <= 0;
    end else if (start_i) begin
      left <= durations[index] - 1;
      // The next image begins with the first command.
      index <= command_i[19] ? 0 : index + 1;
    end else if (left != 0) begin
      left <= left - 1;
    end
  end
  assign done_o = left == 1;

  assign {a_en_o, a_page_o, a_addr_o, b_en_o, b_page_o, b_bank_o, b_addr_o, w_en_o, w_page_o, w_bank_o, w_addr_o} = '0;
  assign {w_be_o, w_data_o, wt_en_o, wt_addr_o, pr_en_o, pr_addr_o, saturated_o, hold_o} = '0;

endmodule
