"""Fields by their dotted names: all of them, and what two configs differ in."""

import pytest

from configs import base
from configs.fields import defaults, differences, flatten, get, type_of


@pytest.mark.parametrize('name', defaults())
def test_every_field_is_there_by_its_name(name):
    config = base.get_config()
    assert get(config, name) == defaults()[name] == flatten(config.to_dict())[name]
    assert defaults()[name] is None or type(defaults()[name]) is type_of(name)


def test_values_that_python_finds_equal_are_different_in_a_config():
    config = base.get_config()
    tree = config.to_dict()
    assert differences(tree, config) == []
    tree['model']['remat'], tree['seed'] = 0, False
    assert differences(tree, config) == ['model.remat=0 there, False here', 'seed=False there, 0 here']
