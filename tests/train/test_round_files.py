# SPDX-License-Identifier: Apache-2.0
from fedxai.train.round_files import RoundFiles


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_rounds_are_ordered_as_numbers_and_the_last_three_stay(tmp_path):
    files = RoundFiles(tmp_path / "site" / "kept.npz")
    assert files.before(1) is None
    for round_ in (8, 9, 10, 11):
        files.of(round_).write_text("")
        files.tidy(round_)
    assert names(tmp_path / "site") == ["kept.10.npz", "kept.11.npz", "kept.9.npz"]
    assert files.before(11) == files.of(10)
    assert files.before(9) is None


def test_a_round_that_is_repeated_costs_none_of_those_above_it(tmp_path):
    files = RoundFiles(tmp_path / "kept.npz")
    for round_ in (1, 2, 3):
        files.of(round_).write_text("")
    files.tidy(2)
    assert names(tmp_path) == ["kept.1.npz", "kept.2.npz", "kept.3.npz"]


def test_what_is_forgotten_is_its_own_only(tmp_path):
    files = RoundFiles(tmp_path / "kept.npz")
    for name in ("kept.1.npz", ".kept.2.npz.77.part", "kept.npz", "other.1.npz"):
        (tmp_path / name).write_text("")
    files.forget()
    assert names(tmp_path) == ["kept.npz", "other.1.npz"]
