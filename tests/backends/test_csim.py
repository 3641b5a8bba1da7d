"""If these fail, a machine without compiler or headers gives a traceback, or a tool's failure is swallowed."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from cgap.backends.hls import csim
from fpga_model.errors import UserError
from tests.backends.networks import residual_network


@pytest.fixture
def no_headers(monkeypatch):
    for name in ("AP_INCLUDE", "XILINX_HLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(csim.importlib.util, "find_spec", lambda name: None)


def program(path, text):
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return path


def test_a_missing_compiler_is_one_sentence_that_says_what_to_install(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"'no-such-compiler'.*install g\+\+"):
        csim.find_compiler()


def test_the_compiler_may_have_options(monkeypatch):
    monkeypatch.setenv("CXX", f"{sys.executable} -v")
    assert csim.find_compiler() == [sys.executable, "-v"]


def test_missing_headers_are_one_sentence_that_says_what_to_install(no_headers):
    with pytest.raises(UserError, match="pip install --no-deps hls4ml"):
        csim.find_ap_include()


def test_headers_are_taken_from_where_the_user_says(no_headers, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"no ap_int\.h in"):
        csim.find_ap_include(tmp_path)
    vendor = tmp_path / "include"
    vendor.mkdir()
    (vendor / "ap_int.h").touch()
    assert csim.find_ap_include(vendor) == vendor
    monkeypatch.setenv("XILINX_HLS", str(tmp_path))
    assert csim.find_ap_include() == vendor
    monkeypatch.setenv("AP_INCLUDE", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere"):
        csim.find_ap_include()


def test_a_compiler_error_shows_its_last_lines(monkeypatch, tmp_path):
    (tmp_path / "ap_int.h").touch()
    compiler = program(
        tmp_path / "cxx", "import sys\nprint('first')\nprint('\\n'.join('x' * 20))\nsys.exit('last line')"
    )
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(UserError, match="last line") as caught:
        csim.compile_bench(tmp_path, tmp_path / "bench", ap_include=tmp_path)
    assert "first" not in str(caught.value)


COMPILER = """import pathlib, sys, time
with open({log!r}, "a") as log:
    log.write("compiled\\n")
time.sleep(0.5)
pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).write_text("program")
"""


def test_two_that_want_the_same_program_compile_it_once(monkeypatch, tmp_path):
    log = tmp_path / "log"
    monkeypatch.setenv("CXX", str(program(tmp_path / "cxx", COMPILER.format(log=str(log)))))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    hls, folders = tmp_path / "hls", [tmp_path / name for name in ("a", "b", "c")]
    for folder in (hls, *folders):
        folder.mkdir()
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda folder: csim.cached_bench(hls, folder), folders))
    assert log.read_text() == "compiled\n"
    assert len(set(made)) == 1
    assert made[0].is_relative_to(tmp_path / "cache")


def test_without_a_cache_a_program_is_compiled_where_the_work_is(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(program(tmp_path / "cxx", COMPILER.format(log=str(tmp_path / "log")))))
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert csim.cached_bench(tmp_path, tmp_path) == tmp_path / "accelerator"


def test_a_bench_that_cannot_run_is_an_error(tmp_path):
    bench = program(tmp_path / "bench", "import sys\nprint('test bench: cannot read x')\nsys.exit(2)\n")
    crash = program(tmp_path / "crash", "import os\nos.abort()")
    for binary, code in ((bench, "exit code 2"), (crash, "ended by SIGABRT")):
        with pytest.raises(UserError, match=code):
            csim.run_bench(binary, tmp_path, residual_network().graph, images=1)


def test_workers_share_the_images_and_their_results_add_up(tmp_path):
    graph = residual_network().graph
    result = {"layers": [{"compared": 5, "mismatches": 1} for _ in graph.layers[1:]], "mismatches": 7}
    text = (
        "import json, sys\n"
        "a = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        f"r = json.loads('{json.dumps(result)}') | {{'images': int(a['--images']), 'first': int(a['--first'])}}\n"
        "open(a['--result'], 'w').write(json.dumps(r))\n"
        "print('difference: image', a['--first'])\n"
        "sys.exit(1)\n"
    )
    found = csim.run_bench(program(tmp_path / "bench", text), tmp_path, graph, images=5, workers=2)
    assert (found.images, found.mismatches, found.compared) == (5, 14, 10 * len(graph.layers[1:]))
    assert found.layers[0] == csim.LayerResult("stem", 10, 2)
    assert found.differences == ("image 0", "image 2")


@pytest.mark.parametrize(
    ("images", "workers", "shares"), [(5, 2, [(0, 2), (2, 3)]), (1, 4, [(0, 1)]), (4, 1, [(0, 4)])]
)
def test_shares_cover_every_image_once(images, workers, shares):
    assert csim._shares(images, workers) == shares
