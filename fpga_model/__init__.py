"""What an FPGA accelerator computes and what it costs: fixed point, layer graph, schedule, analytic model, simulator.

Usable without cgap; needs only numpy and networkx.
"""
