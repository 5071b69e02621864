# SPDX-License-Identifier: Apache-2.0
"""A reader rates, corrects and comments without drawing, under the name that the server knows."""

from types import SimpleNamespace

import pytest

from fedxai.errors import CohortError, ExplanationError
from fedxai.label.access import LOCAL
from fedxai.label.refusals import NotFound, Refusal

REQUEST = SimpleNamespace(user=LOCAL)


@pytest.fixture
def routes(untrained, cohort_2d, tmp_path, reading_app, monkeypatch):
    images = [case.image for case in cohort_2d.cases("test")[:1]]
    app = reading_app(tmp_path / "room", model=untrained("brain_mri_tumor_classification"), images=images)
    monkeypatch.setattr("monailabel.interfaces.utils.app.app_instance", lambda: app)
    from fedxai.label.app import routes

    return SimpleNamespace(routes=routes, image=app.datastore().list_images()[0], feedback=app.feedback)


def test_what_is_said_is_kept_and_shown_under_the_readers_name(routes):
    told = routes.routes.say(REQUEST, routes.image, {"agreement": 3, "label": "GLIOMA", "comment": "at the rim"})
    assert (told["reader"], told["label"]) == (LOCAL.name, "glioma")
    shown = routes.routes.of_image(routes.image)
    assert shown["opinions"] == [told]
    assert len(shown["steps"]) == 4
    assert routes.routes.of_all()["readers"] == 1


def test_what_is_outlined_on_the_page_is_kept_as_what_a_viewer_saves(routes):
    line = {"picture": 0, "name": "lesion", "points": [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]}
    told = routes.routes.say(REQUEST, routes.image, {"outlines": [line], "agreement": 2})
    assert (told["reader"], told["agreement"], told["names"]) == (LOCAL.name, 2, {"lesion": 1})
    (opinion,) = routes.feedback.opinions(routes.image)
    assert routes.feedback.drawing(opinion).region.mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({}, CohortError),
        ({"outlines": []}, CohortError),
        ({"outlines": [{"picture": 7, "name": "lesion", "points": [[0, 0], [1, 0], [1, 1]]}]}, CohortError),
        ({"agreement": 7}, CohortError),
        ({"reader": "somebody else"}, CohortError),
        ({"label": "no such class"}, ExplanationError),
    ],
)
def test_what_breaks_a_rule_is_refused_and_nothing_kept(routes, told, error):
    with pytest.raises(error):
        routes.routes.say(REQUEST, routes.image, told)
    assert routes.feedback.images() == []


def test_a_folder_keeps_no_saliency_and_says_so(routes):
    with pytest.raises(Refusal, match="reads a folder") as refused:
        routes.routes.store("heat_map", routes.image)
    assert refused.value.status_code == 406
    with pytest.raises(NotFound):
        routes.routes.store("nobody", routes.image)


def test_an_image_that_is_not_there_is_not_found(routes):
    with pytest.raises(NotFound):
        routes.routes.say(REQUEST, "../elsewhere", {"agreement": 1})
    with pytest.raises(NotFound):
        routes.routes.of_image("elsewhere")
