"""Write your record to one file that you can give to a teacher: what `make hand-in` does.

    python tools/hand_in.py "Ann Lee" [--path ann.record.json]

Nothing is sent anywhere.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from course_utils.classroom import export
from course_utils.classroom.hand_in import read


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="the name to hand in under; you choose it")
    parser.add_argument(
        "--path", type=Path, help="the file to write; beside the notebooks, unless named"
    )
    chosen = parser.parse_args(arguments)
    try:
        path = export(chosen.name, chosen.path)
    except (ValueError, OSError) as error:
        print(f"Nothing was written. {error}")
        return 1
    record = read(path)
    print(
        f"{path.name}, in the folder {path.resolve().parent.name}, holds the name {record.name!r}, "
        f"{len(record.passed)} passed exercises, {len(record.guesses)} guesses and "
        f"{len(record.answers)} answers of self-tests, and nothing else. Nothing was sent "
        "anywhere: give the file to your teacher yourself. It is text; look into it first."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
