"""What a section shows is what it says it chose, and what it tells to type does."""

import re
import shlex

from matplotlib.figure import Figure

from analysis import tables
from analysis.page import arms, attention_map, sections
from analysis.page.pictures import Picture
from analysis.reading import runs


def test_the_attention_map_is_of_the_most_accurate_arm_of_several_heads(workdir, trained, monkeypatch):
    for label, heads, accuracy in (('one head', 1, 0.99), ('good', 2, 0.8), ('poor', 2, 0.7)):
        workdir.add(label, 0, accuracy, {'model.num_heads': heads, 'model.depth': len(label)})
    sweep = runs.read(workdir.write())
    _, rows = arms.rows(sweep, tables.make_table(sweep))
    monkeypatch.setattr(
        attention_map, 'attention_map', lambda one, image, title: Picture('attention_map', title, '', Figure())
    )
    _, (picture,) = sections._attention_map(workdir.path, rows, lambda folder: trained())
    assert picture.title.startswith('good')


def test_the_command_for_other_resolutions_names_the_folder_whatever_its_name(workdir):
    workdir.path = workdir.path.with_name("Ann's sweep; 1")
    workdir.add('an arm', 0)
    sweep = runs.read(workdir.write())
    _, rows = arms.rows(sweep, tables.make_table(sweep))
    found = sections.sections(workdir.path, sweep, rows, None, 'no heads', lambda folder: None)
    (scaling,) = [section for section in found if section.id == 'scaling']
    (command,) = re.findall('(python eval.py .*), then', ' '.join(scaling.texts))
    assert shlex.split(command) == ['python', 'eval.py', f'--workdir={workdir.path}', '--resolutions=...']
