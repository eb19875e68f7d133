"""Complete settings by name, and models by theirs."""

from dataclasses import fields

import pytest

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import get_grammar
from synthlab.presets import ModelConfig, Preset, TrainingConfig, get_preset
from synthlab.splits.density import REGIMES
from synthlab.splits.regions import Region
from synthlab.study.designs import VARIANTS
from synthlab.study.scaling import MIN_POINTS

NAMES = ["tiny", "quick", "paper", "cluster"]
by_name = pytest.mark.parametrize("name", NAMES)


@by_name
def test_a_preset_is_found_by_its_name_and_complete(name):
    preset = get_preset(name)
    assert preset.name == name and preset == get_preset(name)
    assert get_grammar(preset.grammar).name == preset.grammar
    assert all(Region(**region).describe() for region in preset.regions)
    assert len({Region(**region).describe() for region in preset.regions}) == len(preset.regions)


@by_name
def test_a_preset_has_enough_sizes_for_a_scaling_fit(name):
    preset = get_preset(name)
    names = [model.name for model in preset.scaling_models]
    assert len(set(names)) == len(names) >= MIN_POINTS
    cost = [model.layers * model.width**2 for model in preset.scaling_models]
    assert cost == sorted(cost)


@by_name
def test_a_preset_asks_for_no_more_than_it_can(name):
    preset = get_preset(name)
    assert preset.num_regions >= max(1, preset.isolated) and {*preset.variants, *preset.root_variants} <= set(VARIANTS)
    assert {*preset.crossed_regimes} <= set(REGIMES) and len(set(preset.scaling_sizes)) == len(preset.scaling_sizes)
    assert all(get_grammar(grammar).name == grammar for grammar, _ in preset.further_grammars)
    assert 0 < preset.reserved < 1 and preset.num_test >= 1 and preset.num_samples > 1 and len(preset.seeds) >= 1


def test_what_needs_a_gpu_says_so():
    assert [get_preset(name).needs_gpu for name in NAMES] == [False, False, True, True]


def test_the_cluster_runs_the_papers_settings_with_more_seeds():
    paper, cluster = get_preset("paper"), get_preset("cluster")
    different = {f.name for f in fields(Preset) if getattr(paper, f.name) != getattr(cluster, f.name)}
    assert different == {"name", "seeds"} and set(paper.seeds) < set(cluster.seeds) and len(paper.seeds) >= 3


@pytest.mark.parametrize("name", ["", "Quick", "huge", "quick "])
def test_an_unknown_preset_is_refused_with_the_known_ones(name):
    with pytest.raises(ConfigurationError, match=f"unknown preset '{name}': choose from tiny, quick, paper, cluster"):
        get_preset(name)


@pytest.mark.parametrize(("text", "width", "layers"), [("96x3", 96, 3), ("16x1", 16, 1), ("768x12", 768, 12)])
def test_a_model_is_read_from_its_name(text, width, layers):
    model = ModelConfig.parse(text)
    assert (model.width, model.layers, model.name) == (width, layers, text)
    assert model.width % model.heads == 0


NO_NAMES = ["", "96", "x", "96x", "x3", "-8x1", "8x-1", "9.5x3", "96x3x2", "96X3", "٨x1", "8 x 1"]


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_model_name_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"write <width>x<layers>, for example 96x3"):
        ModelConfig.parse(text)


@pytest.mark.parametrize("text", ["0x1", "16x0", "00x00"])
def test_a_model_without_width_or_layers_is_refused(text):
    with pytest.raises(ConfigurationError):
        ModelConfig.parse(text)


def test_settings_cannot_be_changed():
    for settings, name in ((get_preset("quick"), "max_size"), (ModelConfig(), "width"), (TrainingConfig(), "seed")):
        with pytest.raises(AttributeError):
            setattr(settings, name, 8)
