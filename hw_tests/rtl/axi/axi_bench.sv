// A small accelerator for cocotb, with the transaction identifiers that its bus models want: all are zero.
module axi_bench #(
  parameter int unsigned Pox = 4,
  parameter int unsigned Poy = 2,
  parameter int unsigned Pof = 2,
  parameter int unsigned PageDepth = 512,
  parameter int unsigned BeatBytes = 8,
  parameter int unsigned BurstBytes = 128,
  parameter int unsigned Outstanding = 3
) (
  input  logic                                 clk,
  input  logic                                 rst_n,
  output logic                                 irq,
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
  output logic                                 m_axi_rd_arvalid,
  input  logic                                 m_axi_rd_arready,
  output logic                                 m_axi_rd_arid,
  output logic [63:0]                          m_axi_rd_araddr,
  output logic [7:0]                           m_axi_rd_arlen,
  output logic [2:0]                           m_axi_rd_arsize,
  output logic [1:0]                           m_axi_rd_arburst,
  output logic [3:0]                           m_axi_rd_arcache,
  output logic [2:0]                           m_axi_rd_arprot,
  input  logic                                 m_axi_rd_rvalid,
  output logic                                 m_axi_rd_rready,
  input  logic                                 m_axi_rd_rid,
  input  logic [BeatBytes*8-1:0]               m_axi_rd_rdata,
  input  logic [1:0]                           m_axi_rd_rresp,
  input  logic                                 m_axi_rd_rlast,
  output logic                                 m_axi_wr_awvalid,
  input  logic                                 m_axi_wr_awready,
  output logic                                 m_axi_wr_awid,
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
  input  logic                                 m_axi_wr_bid,
  input  logic [1:0]                           m_axi_wr_bresp
);

  assign m_axi_rd_arid = 1'b0;
  assign m_axi_wr_awid = 1'b0;

  accelerator #(
    .Pox(Pox),
    .Poy(Poy),
    .Pof(Pof),
    .PageDepth(PageDepth),
    .BeatBytes(BeatBytes),
    .BurstBytes(BurstBytes),
    .Outstanding(Outstanding)
  ) u_dut (
    .clk_i(clk),
    .rst_ni(rst_n),
    .irq_o(irq),
    .*
  );

endmodule
