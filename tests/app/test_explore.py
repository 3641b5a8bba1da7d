"""`cgap explore`: from the command to a file that other commands take; stopped, resumed, and spread over workers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cgap.app import explore as app
from cgap.app import models
from cgap.app.explore import Exploration, ExploreRequest, Wishes, choose, explore
from cgap.app.explore_table import draw_front, print_exploration
from cgap.app.plan import Target, plan_model
from cgap.app.target_file import read_target, target_text
from cgap.lowering import import_onnx
from fpga_model.errors import UserError
from fpga_model.explore.design import Design, confirm, evaluate_group, groups
from fpga_model.explore.front import Band, front
from fpga_model.explore.space import Configuration, Space
from fpga_model.graph import LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform, platform_names
from fpga_model.models.simulator import simulate
from fpga_model.schedule.plan import Kind

FEW = Space(
    Pox=(8,), Poy=(4, 8), Pof=(2, 4), page_depths=(512,), weight_depths=(8192, 32768), port_bits=(64, 128), pages=(2,)
)
REQUEST = ExploreRequest("resnet20", "zcu104", space=replace(FEW, least_share=0), confirm=2)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Exploration:
    return explore(replace(REQUEST, out=tmp_path_factory.mktemp("explore")))


def test_best_design_is_what_its_file_builds(found: Exploration):
    """Fails if `--config best.toml` is another machine than the one that was promised."""
    best = found.best
    assert best is not None
    assert best.simulated_cycles is not None, "the best is confirmed"
    target = Target.parse("", "", "", config=found.folder / "best.toml")
    planned = plan_model("resnet20", target)
    assert simulate(planned.schedule).cycles == best.simulated_cycles
    assert planned.command("hls") == f"cgap hls resnet20 --config {found.folder / 'best.toml'}"
    assert found.configurations == 32
    assert json.loads((found.folder / "front.json").read_text())["best"] == best.to_json()
    assert best.best_cycles == min(design.best_cycles for design in found.front)


def test_stopped_exploration_goes_on(found: Exploration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Fails if finished pieces are worked out again, one that was cut short is trusted, or the result is another."""
    lines = (found.folder / "designs.jsonl").read_bytes().splitlines()
    (tmp_path / "designs.jsonl").write_bytes(b"\n".join([*lines[:3], lines[3][: len(lines[3]) // 2]]))
    worked = []
    work = app._work
    monkeypatch.setattr(app, "_work", lambda task: worked.append(task[0]) or work(task))
    again = explore(replace(REQUEST, out=tmp_path))
    assert len(worked) == len(lines) - 3
    assert again.reused == 3 * 4
    assert again.to_json() == found.to_json()
    worked.clear()
    explore(replace(REQUEST, out=tmp_path))
    assert not worked, "all is known, also what came after the line that was cut short"
    explore(replace(REQUEST, platform="kv260", out=tmp_path))
    assert len(worked) == len(lines), "designs of another platform are none of this one's"


def shares(platform: str, graph: LayerGraph, count: int) -> list[list[Configuration]]:
    """Configurations of a platform that share an array and a port, every so many of them; 0: all."""
    pieces = list(groups(Space().configurations(graph, load_platform(platform))))
    return pieces[:: max(1, len(pieces) * 5 // count)] if count else pieces


def confirmed_best(name: str, count: int) -> None:
    """The explorer's best of a platform for ResNet-110 as it ships, by model and by simulator."""
    graph, platform, band = import_onnx(models.resolve("resnet110")).graph, load_platform(name), Band()
    pieces = shares(name, graph, count)
    best = front([design for piece in pieces for design in evaluate_group(graph, platform, piece)[0]])[0]
    exact = confirm(graph, platform, best).simulated_cycles
    assert exact is not None
    assert abs(best.cycles - exact) <= band.share * exact, f"{name}: {best}, {exact} by the simulator"


@pytest.mark.parametrize("name", platform_names())
def test_the_best_of_some_designs_is_confirmed(name: str):
    """Fails if the model's best of a share of a platform's designs is further from the simulator than is stated."""
    confirmed_best(name, 20)


@pytest.mark.long
@pytest.mark.parametrize("name", platform_names())
def test_the_best_of_all_designs_is_confirmed(name: str):
    """Fails if that of all designs is: 1,000 to 20,000 a platform."""
    confirmed_best(name, 0)


def test_several_processes_find_the_same(found: Exploration, tmp_path: Path):
    """Fails if what several processes find depends on who is first."""
    pytest.importorskip("joblib")
    assert explore(replace(REQUEST, jobs=2, out=tmp_path)).to_json() == found.to_json()


def test_two_dask_workers_find_the_same(found: Exploration, tmp_path: Path):
    """Fails if the work cannot be handed to a Dask scheduler, or comes back changed."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        spread = explore(replace(REQUEST, scheduler=cluster.scheduler_address, out=tmp_path))
    assert spread.to_json() == found.to_json()


def test_absent_scheduler_is_one_sentence(tmp_path: Path):
    """Fails if an address where nobody answers ends in a traceback."""
    pytest.importorskip("distributed")
    with pytest.raises(UserError, match="no Dask scheduler answers"):
        explore(replace(REQUEST, scheduler="nonsense://", out=tmp_path))


def test_wishes_are_kept(found: Exploration):
    """Fails if a design beyond a limit is chosen, or with a target a larger one than is needed."""
    platform, designs = load_platform("zcu104"), found.front
    fastest = min(designs, key=lambda design: design.best_cycles)
    best, _ = choose(designs, Wishes(target_ms=max(d.latency_ms for d in designs)), platform)
    assert best is not None
    assert best.blocks <= fastest.blocks
    limited, _ = choose(designs, Wishes(max_dsp=128, max_bram=80), platform)
    assert limited is not None
    assert limited.dsp <= 128
    assert limited.blocks <= 80
    nothing, closest = choose(designs, Wishes(target_ms=1e-3), platform)
    assert nothing is None
    assert closest is not None
    assert closest.objectives == fastest.objectives


def test_wishes_that_nothing_keeps_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Fails if a target that is out of reach is a traceback, or leaves the file of an earlier, easier wish."""
    explore(replace(REQUEST, out=tmp_path))
    assert (tmp_path / "best.toml").exists()
    nothing = explore(replace(REQUEST, wishes=Wishes(target_ms=1e-3), out=tmp_path))
    assert nothing.best is None
    assert nothing.closest is not None
    assert nothing.reused == nothing.configurations
    assert not (tmp_path / "best.toml").exists()
    print_exploration(nothing, Console(width=80))
    text = capsys.readouterr().out
    assert "no design meets all limits; the fastest that meets the others takes 0.4" in " ".join(text.split())
    assert "…" not in text, "figures are whole on a terminal of 80 columns"


@pytest.mark.parametrize("name", platform_names())
def test_the_widest_figures_fit_a_terminal(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Fails if a figure is cut off on a terminal of 80 columns: with the longest names and all that the part has."""
    platform, space = load_platform(name), Space()
    sizes = (max(space.page_depths), max(space.weight_depths), 1024, max(space.port_bits), Kind.LAYERWISE)
    design = Design(
        Configuration(16, 16, 128, *sizes, max(space.pages)),
        *(2_805_000, 14.025, 4_000_000, 0.123, platform.dsp, platform.block.count),
        lut=999_000,
        simulated_cycles=2_810_000,
    )
    print_exploration(Exploration("x", platform, 9, 0, 0, 1.0, [design], design, None, tmp_path), Console(width=80))
    assert "…" not in capsys.readouterr().out


def test_figure(found: Exploration, tmp_path: Path):
    """Fails if the front cannot be drawn, or an unknown ending is a traceback."""
    pytest.importorskip("matplotlib")
    draw_front(found, tmp_path / "front.svg")
    assert (tmp_path / "front.svg").read_text().startswith("<?xml")
    with pytest.raises(UserError, match=r"--figure .*front\.xyz"):
        draw_front(found, tmp_path / "front.xyz")


FAULTS = {
    "unknown": ("depth = 4", "no field depth; there are platform, array"),
    "text": ('page_depth = "deep"', "page_depth: "),
    "schedule": ('schedule = "fast"', "no schedule 'fast'"),
    "array": ('array = "8x8"', "write it as PoxxPoyxPof"),
    "port": ("port_bits = 100", "port_bits is 100; it must be 32, 64"),
    "wide port": ("port_bits = 512", "no more than the 128 of platform zcu104"),
    "platform": ('platform = "zcu14"', "did you mean zcu104"),
    "not TOML": ("= 4", "not valid TOML"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_target_files_name_the_field(fault: str, tmp_path: Path):
    """Fails if a fault in the file is accepted, or its message does not say what to mend."""
    line, message = FAULTS[fault]
    (tmp_path / "target.toml").write_text(line)
    with pytest.raises(UserError, match=message):
        read_target(tmp_path / "target.toml").parts()


def test_target_file_holds_all_sizes(tmp_path: Path, found: Exploration):
    """Fails if a size is written that is not read back."""
    configuration = replace(found.front[0].configuration, pages=3, port_bits=64, kind=Kind.LAYERWISE)
    (tmp_path / "t.toml").write_text(target_text("zcu104", configuration, "made by a test"))
    platform, accelerator, kind = read_target(tmp_path / "t.toml").parts()
    assert accelerator == configuration.accelerator != Accelerator()
    assert (platform.axi_bits, kind) == (64, Kind.LAYERWISE)
