# SPDX-License-Identifier: Apache-2.0
"""What the README tells a newcomer to type, typed: on a few small images, with fewer rounds."""

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
CLASSES, PATIENTS, SLICES = ("meningioma", "glioma", "pituitary"), 42, 2
OWN_IMAGES = "## Your own images, in six commands"
LESS = {  # README's are for a study: a few images need a larger share to validate on, two sites, and one round
    "intake raster": "--validation 0.3",
    "cohort split": "--sites 2",
    "run": "--rounds 1 --local-steps 2",
    "compare": "--rounds 1 --seeds 1 --local-steps 2",
}


def told(readme: str, section: str) -> list[str]:
    """The commands of the first block below a heading; one may go on in the next line."""
    _, _, below = readme.partition(f"{section}\n")
    return re.search(r"```sh\n(.*?)```", below, re.DOTALL)[1].replace("\\\n", " ").splitlines()


@pytest.fixture(scope="module")
def typed(repository, explaining, little, tmp_path_factory):
    """A folder with images, their table and the job, without its costly questions; what a command typed there said."""
    folder = tmp_path_factory.mktemp("newcomer")
    explaining(repository / "jobs" / "fedxai", folder / "jobs", **little)
    random = np.random.default_rng(0)
    rows = []
    for case in range(PATIENTS * SLICES):
        patient = case // SLICES
        pixels, mask = random.integers(0, 60, (64, 64)), np.zeros((64, 64))
        row, column = random.integers(4, 40, 2)
        mask[row : row + 16, column : column + 16] = 255
        pixels[mask > 0] += 60 * (1 + patient % 3)
        for name, array in ((f"{case}.png", pixels), (f"{case}-mask.png", mask)):
            (folder / "scans").mkdir(exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(folder / "scans" / name)
        rows.append((f"{case}.png", CLASSES[patient % 3], f"{case}-mask.png", f"p{patient}"))
    with (folder / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "label", "mask", "group"), *rows])

    def type_(command: str) -> "subprocess.CompletedProcess[str]":
        path = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
        line = f"{path}; cd {shlex.quote(str(folder))}; {command}"
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)

    return type_


@pytest.mark.timeout(3000)
def test_own_images_in_six_commands(typed, repository):
    readme = (repository / "README.md").read_text()
    commands = told(readme, OWN_IMAGES)
    assert len(commands) == 6
    for command in commands:
        name = next((name for name in LESS if command.startswith(f"fedxai {name} ")), "")
        done = typed(f"{command.replace('DIR', 'scans')} {LESS.get(name, '')}")
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert "comparison: " in done.stdout
    [bare] = re.findall(r"`(FEDXAI_COHORTS=.*)-t 4`", readme)
    done = typed(f"{bare} -t 4")  # refused as soon as the folder is found, from within FLARE's workspace
    refusal = "the cohorts folder has site-1, site-2; start the simulator with -c site-1,site-2"
    assert refusal in done.stdout + done.stderr
