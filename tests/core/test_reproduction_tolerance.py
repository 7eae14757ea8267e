"""Every scale that is competed at has a published tolerance, which says where it is from."""

from datacomp.reproduction.tolerance import tolerance_of
from datacomp.scales import SCALES, rehearsal_of


def test_every_scale_has_a_tolerance_with_its_source_and_rehearsals_none() -> None:
    for scale in SCALES.values():
        found = tolerance_of(scale)
        assert found is not None, scale.name
        assert 0 < found.average < 0.05
        assert 0 < found.main < 0.05
        assert found.source
        assert tolerance_of(rehearsal_of(scale)) is None
