"""Commands that show: platforms, reports as pages, builds side by side, workloads of other tools, explorations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cgap import cli
from cgap.app import explore
from fpga_model.errors import UserError
from fpga_model.machine.platform import platform_names


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("reports")
    for name in ("resident", "layerwise"):
        (folder / name).mkdir()
        (folder / name / "report.json").write_text(run("sim", "resnet20", "--schedule", name, "--json"))
    return folder / "resident", folder / "layerwise"


def test_platforms_as_json():
    """Fails if a platform or a field is missing from the JSON."""
    found = json.loads(run("platforms", "--json"))
    assert list(found) == platform_names()
    assert found["zcu104"]["ultra"]["count"] == 96
    assert found["arria10_gx1150"]["block"]["name"] == "M20K"
    assert all(
        {"lut", "ff", "dsp", "axi_ports", "dram_kind", "usable_gb_per_s"} <= set(entry) for entry in found.values()
    )
    assert "M20K" in run("platforms")


def test_a_page_is_written_beside_its_report(reports: tuple[Path, Path], tmp_path: Path):
    """Fails if `cgap report` takes a folder or a file differently, or writes where it was not asked to."""
    resident, _ = reports
    assert "report.html" in run("report", str(resident))
    run("report", str(resident / "report.json"), "-o", str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_text() == (resident / "report.html").read_text()


def test_two_builds_side_by_side(reports: tuple[Path, Path], tmp_path: Path):
    """Fails if the page lacks one of the builds, or their figures and differences."""
    run("compare-builds", *map(str, reports), "-o", str(tmp_path / "both.html"))
    text = (tmp_path / "both.html").read_text()
    figures = [json.loads((folder / "report.json").read_text())["totals"]["cycles"]["simulated"] for folder in reports]
    for cycles in figures:
        assert f"<td>{cycles:,}</td>" in text
    assert f"{figures[1] / figures[0] - 1:+.2%}" in text
    assert "differs" in text
    assert text.index(f"The second is {figures[1] / figures[0]:.2f} times as slow as the first") < text.index("Figures")
    assert "The other 6 layers" in text


def test_workloads_are_written(tmp_path: Path):
    """Fails if the command writes another format than it was asked for."""
    run("workload", "resnet20", "--to", "zigzag", "-o", str(tmp_path / "w.yaml"))
    assert json.loads((tmp_path / "w.yaml").read_text())[0]["operator_type"] == "Conv"


def test_explore_passes_on_what_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Fails if an option of `cgap explore` is lost on its way, or networks and platforms are not combined."""
    asked: list[explore.ExploreRequest] = []

    def note(request: explore.ExploreRequest, progress: explore.Progress) -> None:
        asked.append(request)
        raise UserError("enough")

    monkeypatch.setattr(explore, "explore", note)
    arguments = ["explore", "resnet20", "--platform", "kv260", "--target-ms", "0.5", "--max-dsp", "300"]
    arguments += [
        "--max-bram",
        "99",
        "--jobs",
        "3",
        "--scheduler",
        "tcp://nowhere:1",
        "--out",
        str(tmp_path),
        "--exact",
    ]
    with pytest.raises(UserError, match="enough"):
        CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    request = asked[0]
    assert (request.model, request.platform, request.jobs, request.confirm) == ("resnet20", "kv260", 3, None)
    assert request.wishes == explore.Wishes(0.5, 300, 99)
    assert (request.scheduler, request.out) == ("tcp://nowhere:1", tmp_path)
    with pytest.raises(UserError, match="--out and --figure are for one network on one platform"):
        CliRunner().invoke(cli.app, ["explore", "resnet20", "resnet110", "--out", "x"], catch_exceptions=False)
