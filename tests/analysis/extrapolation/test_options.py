"""Flags that cannot work, of themselves or for the runs that are asked, are named with what would do."""

import pytest

from analysis.extrapolation import options, report
from configs.errors import ConfigError


@pytest.mark.parametrize(
    ('resolutions', 'policies', 'message'),
    [
        (['x'], None, r'--resolutions=x: sides in pixels would do'),
        (['0'], None, r'--resolutions=0: sides in pixels'),
        ([], None, r'--resolutions=: sides'),
        (['8'], ['extent'], r'--coordinates=extent: extend, rescale or extend,rescale would do'),
        (['8'], [], r'--coordinates=: extend'),
        (['8', '14'], None, r'--resolutions=14 is no multiple of model\.patch_size=4; 12 or 16 would do'),
        (['2'], None, r'--resolutions=2 is less than model\.patch_size=4; that or more would do'),
        (['8', '6'], None, r'--resolutions=6 is no multiple of model\.patch_size=4; 4 or 8 would do'),
        (['4100'], None, r'--resolutions=4100 makes 1,050,625 tokens of an image'),
    ],
)
def test_flags_that_cannot_work_are_named(trained, resolutions, policies, message):
    with pytest.raises(ConfigError, match=message):
        report.report(trained, resolutions, policies, 'test')


def test_images_that_are_not_square_are_refused(found):
    ready = found.evaluated[0][0]
    oblong = ready._replace(spec=ready.spec._replace(image_shape=(8, 12, 1)))
    with pytest.raises(ConfigError, match='8 x 12 pixels'):
        options.check_resolutions([oblong], [8])


def test_sides_fit_the_patches_of_every_run(found):
    one = found.evaluated[0][0]
    config = one.config.copy_and_resolve_references()
    config.model.patch_size = 6
    options.check_resolutions([one, one._replace(config=config)], [12])
    with pytest.raises(ConfigError, match=r'--resolutions=6 is no multiple of model\.patch_size=4 and 6; 12 would do'):
        options.check_resolutions([one, one._replace(config=config)], [6])
