"""Notebook 00: the machine check and the exercises' checks."""

from course_utils import Config, Estimate, fit, load_mnist
from course_utils.topics import t00


def test_the_machine_check_sees_what_is_missing(tmp_path):
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("# a comment\nnumpy>=1\nno-such-package>=1\ntorch<1  # too old\n", encoding="utf-8")
    table = t00.check_machine(wanted).set_index("what")
    assert table["good"].to_dict() == {"Python": True, "numpy": True, "no-such-package": False, "torch": False}
    assert table.loc["no-such-package", "found"] == "missing" and "pip install" in table.loc["torch", "to do"]


def test_this_environment_is_good():
    assert t00.check_machine()["good"].all()


def test_eight_seeds_are_told_from_less():
    data = load_mnist(subset=50, image_size=7)

    def runs(count=8, **fields):
        return fit([Config(**({"width": 8, "epochs": 1, "seed": seed} | fields)) for seed in range(count)], data)

    assert t00.check_eight_seeds(runs()) and t00.check_eight_seeds(runs(9))
    for wrong in (None, runs(1), runs(seed=0), runs(width=4)):
        assert not t00.check_eight_seeds(wrong)


def test_a_real_difference_needs_its_interval_on_one_side():
    shown, open_ = Estimate(0.02, 0.01, 0.03, 8, "points"), Estimate(0.01, -0.01, 0.03, 8, "points")
    assert t00.check_real_difference(True, shown) and t00.check_real_difference(False, open_)
    for answer, measured in ((False, shown), (True, open_), (None, shown), ("yes", shown)):
        assert not t00.check_real_difference(answer, measured)
