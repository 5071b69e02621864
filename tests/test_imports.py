# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest

import fedxai

HEAVY = ("torch", "monai", "nvflare", "captum", "sklearn", "matplotlib", "pandas")


@pytest.mark.parametrize(
    "code",
    [
        "import fedxai",
        "import contextlib, sys\nsys.argv = ['fedxai', '--help']\nfrom fedxai.cli import main\n"
        "with contextlib.suppress(SystemExit):\n    main()",
    ],
)
def test_the_package_and_its_help_stay_light(code):
    probe = f"{code}\nimport sys\nprint('HEAVY', [n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout


def test_what_starts_a_run_waits_for_nothing_heavy_before_it_has_looked_at_the_command():
    probe = "import fedxai.flare.simulate, sys\nprint([name for name in ('torch', 'monai') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_public_name_can_be_imported():
    for name in fedxai.__all__:
        assert getattr(fedxai, name) is not None


def test_an_unknown_public_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match="it has Bundle"):
        _ = fedxai.nothing
