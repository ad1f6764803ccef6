"""The wheel: it builds, has all that belongs into it, and works without the source."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import hookledger

from .conftest import ROOT

FOLDER = Path(__file__).resolve().parent.parent


def test_the_wheel_is_whole_and_typed(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, FOLDER],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"hookledger-{hookledger.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"hookledger-{hookledger.__version__}.dist-info/METADATA").decode()
    sources = {f"hookledger/{path.name}" for path in (FOLDER / "src" / "hookledger").iterdir() if path.is_file()}
    assert sources <= names
    assert "hookledger/py.typed" in names
    assert not [n for n in names if "test" in n]
    assert "Requires-Dist: httpx<1,>=0.27\n" in metadata
    assert metadata.count("Requires-Dist") == 1
    assert "Requires-Python: >=3.10\n" in metadata
    done = subprocess.run(
        [sys.executable, "-c", "import hookledger; print(hookledger.__file__, hookledger.Hookledger('https://x'))"],
        env={**os.environ, "PYTHONPATH": str(wheel)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(wheel) in done.stdout


def test_the_license_is_the_project_s() -> None:
    assert (FOLDER / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
