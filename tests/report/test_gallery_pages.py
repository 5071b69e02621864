# SPDX-License-Identifier: Apache-2.0
"""The gallery's orders and filters are worked out beforehand: a case's place under each, undefined last."""

from fedxai.report.gallery_pages import Entry, _places, gallery_pages


def entry(index: int, e: float | None, *, chance: float | None = 0.1, sure: float = 0.5, present: bool = True) -> Entry:
    return Entry(
        index=index,
        image="",
        label=index % 2,
        predicted=0,
        present=present,
        explained=0,
        probabilities=[sure, 1 - sure],
        scores={"saliency": {"relevance_mass": e}},
        chance=chance,
        planes=[],
    )


ENTRIES = [entry(0, 0.3), entry(1, None), entry(2, 0.05, sure=0.9), entry(3, 0.7, sure=0.8)]


def in_order(name: str) -> list[int]:
    places = _places(ENTRIES, ["saliency"])
    return sorted(places, key=lambda index: places[index][name])


def test_cases_are_placed_by_e_from_either_end_and_undefined_ones_last() -> None:
    assert in_order("low-0") == [2, 0, 3, 1]
    assert in_order("high-0") == [3, 0, 2, 1]


def test_cases_are_placed_by_the_certainty_of_their_prediction() -> None:
    assert in_order("sure") == [2, 3, 0, 1]


def test_below_chance_needs_both_figures() -> None:
    assert [shown.below_chance("saliency") for shown in ENTRIES] == [False, False, True, False]
    assert not entry(0, 0.05, chance=None).below_chance("saliency")


def test_each_case_carries_its_class_its_answer_and_where_it_is_below_chance() -> None:
    pages = gallery_pages(
        ENTRIES, site="s", seen="4 cases", class_names=["a", "b"], methods=["saliency", "grad_cam"], summaries=[]
    )
    text = pages["index.html"].decode()
    assert text.count('data-class="0" data-answer="right"') == 2
    assert text.count('data-class="1" data-answer="wrong"') == 2
    assert text.count('data-below="0 "') == 1
    assert 'for="class-1">b</label>' in text
    assert "Grad-CAM" not in text  # no case has its map


def test_wrong_answers_come_first_and_classes_that_are_not_in_the_case_last() -> None:
    shown = [entry(1, None, present=False), entry(3, 0.3), entry(2, 0.3), entry(4, 0.3, present=False)]
    assert [one.answer for one in shown] == ["absent", "wrong", "right", "absent"]
    listed = gallery_pages(shown, site="s", seen="4 cases", class_names=["a", "b"], methods=["saliency"], summaries=[])
    text = listed["index.html"].decode()
    order = sorted((1, 2, 3, 4), key=lambda index: text.index(f"case {index}"))
    assert order == [2, 4, 3, 1]
    assert 'for="answer-absent">not in this case</label>' in text


def test_only_a_segmentation_has_a_choice_of_classes_that_are_not_in_the_case() -> None:
    pages = gallery_pages(ENTRIES, site="s", seen="4 cases", class_names=["a", "b"], methods=["saliency"], summaries=[])
    assert 'for="answer-absent"' not in pages["index.html"].decode()
