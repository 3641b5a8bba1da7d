"""If this breaks, a newcomer who follows the tutorial fails."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def words(text):
    return " ".join(text.split())


@pytest.mark.skipif(shutil.which("g++") is None, reason="the tutorial compiles C++")
def test_every_block_of_the_tutorial_runs_and_prints_what_it_says(tmp_path):
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    blocks = BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text())
    assert [language for language, _ in blocks].count("sh") == 3
    printed = ""
    for language, text in blocks:
        head, _, body = text.partition("\n")
        if head.startswith("# file: "):
            (tmp_path / head.removeprefix("# file: ")).write_text(body)
        elif language == "text":
            for line in text.splitlines():
                assert words(line) in words(printed)
        else:
            commands = [text] if language == "python" else text.splitlines()
            printed = ""
            for command in commands:
                program = ["-c", command] if language == "python" else ["-m", *command.split()]
                done = subprocess.run(
                    [sys.executable, *program],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
                printed += done.stdout
    assert (tmp_path / "build" / "mynet" / "hls" / "accelerator.cpp").is_file()
