"""No line of the sources is wider than 110 characters: width.py SOURCE-FOLDER"""

from __future__ import annotations

import sys
from pathlib import Path

WIDTH = 110
PATTERNS = ("*.c", "*.h", "*.cpp")
FOLDERS = ("lib", "include", "examples", "tests")


def wide_lines(text: str) -> list[int]:
    """The numbers of the lines that are too wide, in characters, not bytes."""
    return [number for number, line in enumerate(text.split("\n"), 1) if len(line) > WIDTH]


def main() -> int:
    source = Path(sys.argv[1])
    assert wide_lines("é" * WIDTH + "\n" + "x" * (WIDTH + 1) + "\n") == [2]
    files = [
        path for folder in FOLDERS for pattern in PATTERNS for path in sorted((source / folder).rglob(pattern))
    ]
    faults = [
        f"{path.relative_to(source)}:{number}: wider than {WIDTH} characters"
        for path in files
        for number in wide_lines(path.read_text(encoding="utf-8"))
    ]
    print("\n".join(faults) or f"{len(files)} files")
    return len(faults) > 0 or not files


if __name__ == "__main__":
    sys.exit(main())
