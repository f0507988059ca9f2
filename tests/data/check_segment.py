#!/usr/bin/env python3
"""Does examples/segment split Thai text as icu_segmenter does?

    pip download --no-deps pythainlp && unzip pythainlp-*.whl 'pythainlp/corpus/words_th.txt'
    python3 tests/data/check_segment.py pythainlp/corpus/words_th.txt [LINES]

Draws LINES lines (default: 5,000) of 1 to 20 words of the list, written together. Splits them with the example and with the reference
in tests/data/segmenter, `WordSegmenter::new_lstm`. If lines differ, shows them and ends with code 1.
"""

import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
LETTERS = [*range(0x0E01, 0x0E3B), *range(0x0E40, 0x0E4F)]  # what the network is asked about, and not the rules around it


def main():
    words = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").split()
    words = [word for word in words if all(ord(letter) in LETTERS for letter in word)]
    draw, count = random.Random(1), int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    lines = ["".join(draw.choices(words, k=draw.randint(1, 20))) for _ in range(count)]
    text = "\n".join(lines)

    def run(folder, *command):
        done = subprocess.run(["cargo", "run", "--release", "--quiet", *command], cwd=folder, input=text, check=True,
                              capture_output=True, text=True)
        return done.stdout.splitlines()

    with tempfile.TemporaryDirectory() as folder:
        weights = str(pathlib.Path(folder) / "thai.safetensors")
        oracle = ROOT / "tests/data/segmenter"
        run(oracle, "--", "weights", weights)
        theirs = run(oracle, "--", "split")
        ours = run(ROOT, "--example", "segment", "--", weights)
    assert len(ours) == len(theirs) == count and ["".join(line.split("|")) for line in ours] == lines
    wrong = [pair for pair in zip(ours, theirs) if pair[0] != pair[1]]
    for here, there in wrong[:10]:
        print(f"here  {here}\nthere {there}")
    found = sum(line.count("|") + 1 for line in theirs)
    print(f"{count - len(wrong)} of {count} lines agree; {found} words")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
