# SPDX-License-Identifier: Apache-2.0
import sys

import pytest

from fedxai.errors import ExplanationError
from fedxai.explain import METHODS, Method, Registry
from fedxai.explain.baseline import BASELINES


class Base:
    name: str


@pytest.fixture
def registry():
    return Registry(kind="gadget", base=Base)


def test_the_methods_of_the_field_are_found():
    assert list(METHODS) == [
        "expected_gradients",
        "grad_cam",
        "grad_cam_plus_plus",
        "gradient_x_input",
        "guided_backprop",
        "hires_cam",
        "integrated_gradients",
        "kernel_shap",
        "layer_cam",
        "occlusion",
        "saliency",
        "smooth_grad",
    ]
    assert all(isinstance(METHODS.make(name), Method) for name in METHODS)


def test_an_unknown_name_lists_the_known_ones(registry):
    for label in ("b", "a"):
        registry.register(type(label, (Base,), {"name": label}))
    with pytest.raises(ExplanationError, match="unknown gadget 'c'; choose from a, b"):
        registry.make("c")


def test_a_variant_is_made_by_its_own_name_and_not_listed(registry):
    class Gadget(Base):
        name, variants = "a", {"loud": {"volume": 9}}

        def __init__(self, *, volume=1):
            self.volume = volume

    registry.register(Gadget)
    assert (registry.make("a").volume, registry.make("a_loud").volume) == (1, 9)
    assert (list(registry), len(registry), registry.names) == (["a"], 1, {"a", "a_loud"})
    assert "a_loud" in registry
    assert "a_quiet" not in registry


def test_methods_that_compare_with_a_baseline_are_known_by_each():
    variants = METHODS.names - set(METHODS)
    compared = ("integrated_gradients", "kernel_shap", "occlusion")
    assert variants == {f"{name}_{baseline}" for name in compared for baseline in set(BASELINES) - {"black"}}
    assert all(METHODS.make(name).name == name for name in METHODS.names)


def test_nothing_is_overwritten(registry):
    first = registry.register(type("First", (Base,), {"name": "a"}))
    with pytest.raises(ExplanationError, match=r"gadget 'a' is .*First already"):
        registry.register(type("Second", (Base,), {"name": "a"}))
    assert type(registry.make("a")) is first


def test_a_variant_is_not_overwritten_and_overwrites_nothing(registry):
    registry.register(type("First", (Base,), {"name": "a", "variants": {"b": {}}}))
    with pytest.raises(ExplanationError, match=r"gadget 'a_b' is .*First already"):
        registry.register(type("Second", (Base,), {"name": "a_b"}))
    registry.register(type("Third", (Base,), {"name": "c_d"}))
    with pytest.raises(ExplanationError, match=r"gadget 'c_d' is .*Third already"):
        registry.register(type("Fourth", (Base,), {"name": "c", "variants": {"d": {}}}))
    assert registry.names == {"a", "a_b", "c_d"}


@pytest.mark.parametrize("entry", [type("Stranger", (), {"name": "a"}), type("Nameless", (Base,), {})])
def test_a_stranger_is_refused(registry, entry):
    with pytest.raises(ExplanationError, match="must extend Base and have a name"):
        registry.register(entry)
    assert len(registry) == 0


def test_one_new_file_is_enough(tmp_path, monkeypatch):
    package = tmp_path / "gadgets_room"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from fedxai.explain import Registry\n"
        "class Gadget: name: str\n"
        "GADGETS = Registry(kind='gadget', base=Gadget)\n"
        "GADGETS.discover(__name__, __path__)\n"
    )
    (package / "new.py").write_text(
        "from gadgets_room import GADGETS, Gadget\n@GADGETS.register\nclass New(Gadget): name = 'new'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import gadgets_room

    assert list(gadgets_room.GADGETS) == ["new"]
    for name in ("gadgets_room", "gadgets_room.new"):
        monkeypatch.delitem(sys.modules, name)
