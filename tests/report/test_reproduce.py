# SPDX-License-Identifier: Apache-2.0
"""The command that repeats a run or a comparison holds what was asked of it, in the words of the command."""

from fedxai.report.reproduce import compare_command, run_command


def test_what_was_set_is_an_option_and_what_was_not_is_none():
    settings = {"rounds": 5, "sites": 3, "local_steps": 8, "batch_size": None, "mixed_precision": False, "e_floor": 0.2}
    assert run_command("fedxai", "brain", settings).split(" \\\n    ") == [
        "fedxai run jobs/fedxai",
        "--cohorts COHORTS",
        "--bundle brain",
        "--rounds 5",
        "--local-steps 8",
        "--out RUN",
    ]


def test_a_switch_has_no_value_and_a_list_is_an_option_each():
    command = run_command("fedxai", "brain", {"mixed_precision": True, "seed": 0, "guidance": "relevance+energy"})
    assert "--mixed-precision \\\n    --seed 0 \\\n    --guidance relevance \\\n    --guidance energy" in command


def test_a_run_without_rounds_names_the_model_that_it_explained():
    command = run_command("explain_only", "brain", {"rounds": 0, "seed": 0})
    assert "--model MODEL" in command
    assert "--rounds" not in command


def test_a_comparison_is_repeated_with_all_its_settings():
    settings = {"rounds": 265, "cohorts": "brain", "local_steps": 8, "learning_rate": None, "key_metric": "accuracy"}
    assert compare_command("brain", 3, {**settings, "guidance": "relevance+energy"}).split(" \\\n    ") == [
        "fedxai compare",
        "--cohorts COHORTS",
        "--bundle brain",
        "--seeds 3",
        "--rounds 265",
        "--local-steps 8",
        "--key-metric accuracy",
        "--guidance relevance",
        "--guidance energy",
        "--out DIR",
    ]
