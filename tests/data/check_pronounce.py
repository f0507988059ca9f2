#!/usr/bin/env python3
"""Does examples/pronounce spell words as the package g2p-en does?

    pip install numpy
    pip download --no-deps g2p-en==2.1.0 && unzip g2p_en-2.1.0-py3-none-any.whl
    python3 tests/data/check_pronounce.py FOLDER WORDS [COUNT]

FOLDER holds the package's folder g2p_en; WORDS is a list of words, one per line, such as /usr/share/dict/words of Debian's wamerican.
Compares COUNT of its words (default: all), evenly spread, in small letters, with the result of the package's own NumPy code, `G2p.predict`.
If words differ, shows them and ends with code 1.
"""

import pathlib
import subprocess
import sys
import tempfile
from unittest.mock import MagicMock

ROOT = pathlib.Path(__file__).resolve().parents[2]


def package(folder):
    # The package's imports besides NumPy serve its dictionary, tagger and numbers. The network needs none of these.
    for name in ["nltk", "nltk.corpus", "nltk.tokenize", "inflect"]:
        sys.modules[name] = MagicMock()
    sys.path.insert(0, str(folder))
    from g2p_en.g2p import G2p
    return G2p()


def main():
    folder, words = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).read_text().lower().split()
    words = sorted(set(words))
    count = int(sys.argv[3]) if len(sys.argv) > 3 else len(words)
    words = [words[index * len(words) // count] for index in range(count)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(words))
        file.flush()
        command = ["cargo", "run", "--release", "--quiet", "--example", "pronounce", "--", "--list", file.name,
                   "--weights", (folder / "g2p_en/checkpoint20.npz").resolve()]
        lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    ours = dict(line.split("  ", 1) for line in lines)
    assert list(ours) == words, "other words"
    network = package(folder)
    wrong = [(word, ours[word], theirs) for word in words if (theirs := " ".join(network.predict(word))) != ours[word]]
    for word, here, there in wrong[:20]:
        print(f"{word}: {here} here, {there} there")
    print(f"{count - len(wrong)} of {count} words agree")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
