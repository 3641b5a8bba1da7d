// A value as it was `Cycles` cycles ago. Flags that start something are cleared by the reset; data need not be, and
// then the line maps to shift register memories.
module delay_line #(
  parameter int unsigned Width = 1,
  parameter int unsigned Cycles = 1,  // at least 1
  parameter bit Clear = 1'b0  // 1: cleared by the reset
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic [Width-1:0] data_i,
  output logic [Width-1:0] data_o
);

  logic [Cycles*Width-1:0] line_q;

  if (Cycles == 1) begin : gen_single
    if (Clear) begin : gen_cleared
      always_ff @(posedge clk_i) begin
        if (!rst_ni) line_q <= '0;
        else line_q <= data_i;
      end
    end else begin : gen_kept
      always_ff @(posedge clk_i) line_q <= data_i;
    end
  end else begin : gen_several
    if (Clear) begin : gen_cleared
      always_ff @(posedge clk_i) begin
        if (!rst_ni) line_q <= '0;
        else line_q <= {line_q[(Cycles-1)*Width-1:0], data_i};
      end
    end else begin : gen_kept
      always_ff @(posedge clk_i) line_q <= {line_q[(Cycles-1)*Width-1:0], data_i};
    end
  end

  assign data_o = line_q[Cycles*Width-1-:Width];

  logic unused_reset;
  assign unused_reset = rst_ni;

endmodule
