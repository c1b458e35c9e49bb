"""Files that are damaged in whatever way are one clear error, which says what to do."""

import random

import numpy as np
import pytest

from course_utils.files import read_arrays, read_json

ADVICE = "Make it again."


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
def test_every_damage_to_arrays_without_a_checksum_is_one_clear_error(pack, tmp_path):
    path, dice = tmp_path / "some.npz", random.Random(0)
    pack(path, numbers=np.arange(60.0).reshape(6, 10), text=np.array("about"))
    sound = path.read_bytes()
    damaged = [sound[: dice.randrange(len(sound))] for _ in range(60)]
    for place in range(len(sound)):
        damaged.append(sound[:place] + bytes([sound[place] ^ 1 << place % 8]) + sound[place + 1 :])
    encrypted = sound.replace(b"PK\x01\x02\x14\x03\x2d\x00\x00", b"PK\x01\x02\x14\x03\x2d\x00\x01")
    encrypted = encrypted.replace(b"PK\x03\x04\x2d\x00\x00", b"PK\x03\x04\x2d\x00\x01")
    for contents in [*damaged, encrypted, b"", b"PK", b"\x93NUMPY" + bytes(50)]:
        path.write_bytes(contents)
        try:
            read_arrays(path, ADVICE)
        except ValueError as error:
            assert ADVICE in str(error) and "some.npz" in str(error)
            assert str(tmp_path) not in str(error)


@pytest.mark.parametrize(
    "contents",
    [
        *(b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5_000, b'{"a": 1}\0', b"\xef\xbb\xbf{}"),
        *(b"<<<<<<< HEAD\n{}\n=======\n", "é".encode("latin1")),
    ],
)
def test_every_damage_to_json_is_one_clear_error(contents, tmp_path):
    path = tmp_path / "some.json"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=r"^some\.json is damaged: .*Make it again\.$"):
        read_json(path, ADVICE)
