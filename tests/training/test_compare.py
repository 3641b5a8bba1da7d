"""If these break, tables of results mix runs that do not belong together, or their figures are not the records'."""

import copy
import json
import tarfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from cgap.training.compare import HEADINGS, Spread, compare_runs, markdown, rows  # noqa: E402
from cgap.training.config import load_config  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402


@pytest.fixture
def runs(finished, tmp_path):
    """Copies of one record as seeds 1 and 2 of `grown`, with a test accuracy of their own, and a dense `control`."""
    record = json.loads((finished / "run.json").read_text())

    def write(name, seed, test, **changes):
        made = copy.deepcopy({**record, "seed": seed, **changes})
        made["config"]["run"]["seed"] = seed
        made["accuracy"]["test"] = test
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(made))
        return tmp_path / name

    dense = {**record["network"], "macs": record["network"]["dense_macs"]}
    most = 2 * record["training_macs"]
    control = write("control", 1, 13.0, network=dense, training_macs=most)
    return [write("grown-1", 1, 10.0), write("grown-2", 2, 11.0), control]


def test_seeds_are_one_line_with_mean_and_sample_deviation(runs):
    grown, control = compare_runs(runs)
    assert (grown.name, grown.seeds, control.name) == ("grown", (1, 2), "control")
    assert grown.test == Spread(10.5, pytest.approx(0.5**0.5))
    assert control.test == Spread(13.0, None)
    cells = dict(zip(HEADINGS, rows([grown, control])[0], strict=True))
    assert cells["test"] == "10.50 ± 0.71 %"
    assert cells["training MACs"] == "0.50"
    assert rows([grown, control])[1][-2] == "13.00 %"
    assert markdown([grown, control]).splitlines()[2].startswith("| grown | 2 | ")


def test_training_macs_are_those_of_every_step(finished):
    record = json.loads((finished / "run.json").read_text())
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert "epoch" in lines[0]  # the first epoch ends before anything grows
    at = {line["step"]: line["macs"] for line in lines if "event" in line}
    total, now = 0, lines[0]["macs"]
    for step in range(record["steps"]):
        now = at.get(step, now)
        total += 16 * now
    assert record["training_macs"] == total


def test_runs_that_do_not_belong_together_are_refused(runs, tmp_path):
    record = json.loads((runs[1] / "run.json").read_text())
    record["config"]["optimiser"]["learning_rate"] = 9.0
    (runs[1] / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="called grown differ in more than their seeds"):
        compare_runs(runs[:2])
    with pytest.raises(UserError, match="two of the runs called grown have the same seed"):
        compare_runs([runs[0], runs[0]])
    with pytest.raises(UserError, match="holds no finished run"):
        compare_runs([tmp_path])


RESULTS = Path(__file__).parents[2] / "docs" / "results"
"""One archive of run records for each table."""


def archived(table: str) -> list[str]:
    """The runs in a table's archive, as TABLE/NAME-SEED."""
    with tarfile.open(RESULTS / f"{table}.tar.xz") as archive:
        return sorted(name.removesuffix("/run.json") for name in archive.getnames())


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A folder with the records of all tables, each run a folder."""
    folder = tmp_path_factory.mktemp("results")
    for path in RESULTS.glob("*.tar.xz"):
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize(
    "table", [["baselines/*"], ["baselines/dense-*", "baselines/cgap-*", "growth/*"], ["lenet5/*"]]
)
def test_the_tables_of_the_document_are_those_of_its_records(records, table):
    document = RESULTS.with_suffix(".md").read_text()
    compared = compare_runs([run for pattern in table for run in sorted(records.glob(pattern))])
    assert len(compared) > 1
    assert not [line for line in markdown(compared).splitlines() if line not in document]


@pytest.mark.parametrize("run", [*archived("baselines"), *archived("lenet5")])
def test_records_are_of_the_configurations_that_ship(records, run):
    name, _, seed = run.partition("/")[2].rpartition("-")
    config = load_config(next((Path(__file__).parents[2] / "configs").rglob(f"{name}.toml")), {"run.seed": seed})
    recorded = json.loads((records / run / "run.json").read_text())["config"]
    assert contains(json.loads(config.model_dump_json()), recorded)


def contains(config, recorded):
    """Whether all that was recorded still holds; fields that came later are not in a record."""
    if isinstance(config, dict) and isinstance(recorded, dict):
        return all(key in config and contains(config[key], value) for key, value in recorded.items())
    return config == recorded
