"""The pages for a teacher to print: how many, which, and that the key stays apart."""

import pytest

import handouts

pytestmark = pytest.mark.slow


def pages(path) -> int:
    content = path.read_bytes()
    assert content.startswith(b"%PDF") and content.rstrip().endswith(b"%%EOF")
    return content.count(b"/Type /Page ") + content.count(b"/Type /Page\n")


def test_a_quiz_has_a_page_for_each_patient_and_its_key_is_a_file_of_its_own(tmp_path, capsys):
    folder = tmp_path / "a folder" / "to print"
    assert handouts.main(["--seed", "3", "--patients", "2", "--folder", str(folder)]) == 0
    counted = {path.name: pages(path) for path in sorted(folder.iterdir())}
    assert counted == {"claims.pdf": 1, "clinic_3.pdf": 4, "clinic_3_key.pdf": 1}
    told = capsys.readouterr().out
    assert "clinic_3_key.pdf" in told and str(tmp_path) not in told


@pytest.mark.parametrize("count", ["0", "21"])
def test_a_number_of_patients_out_of_range_is_named(count, tmp_path, capsys):
    with pytest.raises(SystemExit):
        handouts.main(["--patients", count, "--folder", str(tmp_path / "none")])
    assert f"--patients: got {count}, takes 1 to 20" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
