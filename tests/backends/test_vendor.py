"""If these fail, a vendor's report is misread, or one that misses interval or clock passes.

The sample reports are written from the formats that the tools' manuals describe, not taken from a tool.
"""

import pytest

from cgap.app.compare import compare_model
from cgap.app.plan import Target
from cgap.backends.hls.vendor import Loop, read_cosimulation, read_synthesis
from fpga_model.errors import UserError

XML = """<profile>
<ReportVersion><Version>2023.1</Version></ReportVersion>
<UserAssignments><unit>ns</unit><Part>xczu7ev-ffvc1156-2-e</Part><TopModelName>accelerator</TopModelName>
<TargetClockPeriod>5.00</TargetClockPeriod><ClockUncertainty>0.63</ClockUncertainty></UserAssignments>
<PerformanceEstimates>
<SummaryOfTimingAnalysis><unit>ns</unit><EstimatedClockPeriod>{clock}</EstimatedClockPeriod></SummaryOfTimingAnalysis>
<SummaryOfOverallLatency><Best-caseLatency>undef</Best-caseLatency><Worst-caseLatency>1200</Worst-caseLatency>
</SummaryOfOverallLatency>
<SummaryOfLoopLatency><commands><TripCount>undef</TripCount><Latency>undef</Latency>
<convolve_cycles><TripCount>undef</TripCount><PipelineII>{interval}</PipelineII><PipelineDepth>19</PipelineDepth>
</convolve_cycles></commands></SummaryOfLoopLatency>
</PerformanceEstimates>
<AreaEstimates><Resources><BRAM_18K>210</BRAM_18K><DSP>300</DSP><FF>41000</FF><LUT>52000</LUT><URAM>0</URAM></Resources>
<AvailableResources><BRAM_18K>624</BRAM_18K><DSP>1728</DSP><FF>460800</FF><LUT>230400</LUT></AvailableResources></AreaEstimates>
</profile>
"""
RPT = """================================================================
== Vivado HLS Report for 'accelerator'
================================================================
* Version:        2019.2 (Build 2704478 on Wed Nov 06 22:10:23 MST 2019)
* Target device:  xc7z020-clg400-1
+ Timing (ns):
    * Summary:
    +--------+-------+----------+------------+
    |  Clock | Target| Estimated| Uncertainty|
    +--------+-------+----------+------------+
    |ap_clk  |  10.00|     8.742|        1.25|
    +--------+-------+----------+------------+
+ Latency (clock cycles):
    * Summary:
    |  Latency  |  Interval | Pipeline|
    |  min |  max |  min |  max |   Type  |
    |  100 |  2000|  100 |  2000|   none  |
    + Detail:
        * Loop:
        |    Loop Name        |  Latency  | Iteration|  Initiation Interval  |  Trip |          |
        |                     |  min| max | Latency  |  achieved |   target  | Count | Pipelined|
        |- commands           |    ?|    ?|         ?|          -|          -|      ?|    no    |
        | + convolve_cycles   |    ?|    ?|        21|          2|          1|      ?|    yes   |
== Utilization Estimates
* Summary:
+-----------------+---------+-------+--------+-------+-----+
|       Name      | BRAM_18K| DSP48E|   FF   |  LUT  | URAM|
+-----------------+---------+-------+--------+-------+-----+
|Total            |      220|    180|   30000|  41000|    0|
|Available        |      280|    220|  106400|  53200|    0|
"""
COSIM = """|          |          |            Latency            |            Interval           |
+   RTL    +  Status  +-------------------------------+-------------------------------+
|          |          |   min   |   avg   |    max    |   min   |   avg   |    max    |
|      VHDL|        NA|       NA|       NA|         NA|       NA|       NA|         NA|
|   Verilog|      {status}|    81650|    81650|      81650|       NA|       NA|         NA|
"""


@pytest.fixture
def reports(tmp_path):
    """Writes a report and gives its path."""

    def write(text):
        path = tmp_path / "report"
        path.write_text(text)
        return path

    return write


def test_xml(reports):
    found = read_synthesis(reports(XML.format(clock="4.31", interval=1)))
    assert (found.tool, found.part) == ("2023.1", "xczu7ev-ffvc1156-2-e")
    assert (found.target_ns, found.estimated_ns, found.latency) == (5.0, 4.31, (None, 1200))
    assert found.loops == (Loop("commands", None, None), Loop("convolve_cycles", 1, 19))
    assert found.resources == {"bram18": 210, "dsp": 300, "ff": 41000, "lut": 52000, "uram": 0}
    assert found.available["bram18"] == 624


def test_text(reports):
    found = read_synthesis(reports(RPT))
    assert (found.tool, found.part) == ("2019.2", "xc7z020-clg400-1")
    assert (found.target_ns, found.estimated_ns, found.latency) == (10.0, 8.742, (100, 2000))
    assert found.loops == (Loop("commands", None, None), Loop("convolve_cycles", 2, 21))
    assert found.resources == {"bram18": 220, "dsp": 180, "ff": 30000, "lut": 41000, "uram": 0}
    assert found.available["dsp"] == 220


def test_cosimulation(reports):
    found = read_cosimulation(reports(COSIM.format(status="Pass")))
    assert (found.passed, found.latency) == (True, (81650, 81650, 81650))
    assert not read_cosimulation(reports(COSIM.format(status="Fail"))).passed


@pytest.mark.parametrize("text", ["", "<profile>", "<profile/>", "no report", "<a/>" * 3, RPT.replace("ap_clk", "clk")])
def test_what_is_no_report_is_one_sentence(reports, text):
    with pytest.raises(UserError, match="not a csynth report"):
        read_synthesis(reports(text))
    with pytest.raises(UserError, match="not a co-simulation report"):
        read_cosimulation(reports(text))


def test_entities_are_refused(reports):
    with pytest.raises(UserError, match="entities"):
        read_synthesis(reports('<!DOCTYPE a [<!ENTITY b "c">]>' + XML.format(clock=4, interval=1)))


@pytest.mark.parametrize(
    ("clock", "interval", "missed"),
    [("4.31", 1, []), ("4.31", 2, ["interval of convolve_cycles"]), ("5.20", 1, ["clock, ns"])],
)
def test_misses_are_named(tmp_path, clock, interval, missed):
    csynth, cosim = tmp_path / "csynth.xml", tmp_path / "top_cosim.rpt"
    csynth.write_text(XML.format(clock=clock, interval=interval))
    cosim.write_text(COSIM.format(status="Pass"))
    rows = compare_model("resnet20", Target.parse("zcu104", "8x8x4", "resident"), csynth, cosim)
    assert [row.what for row in rows if row.missed] == missed
    figures = {row.what: row for row in rows}
    assert figures["cycles of an image"].model == "80,726"
    assert figures["cycles of an image"].tool == "81,650 (+1.1%)"
    assert figures["DSP"].tool == "300 of 1,728"
