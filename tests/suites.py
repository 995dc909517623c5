"""The suites that tests/run asks for: suites.py BUILD-FOLDER SOURCE-FOLDER

Every suite that tests/run names holds a test. Every test whose sources start threads, fork or use atomic
variables is in the suite `threads`, which the thread sanitizer runs. The check first finds the faults of an
example.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

# A handle of the library brings a thread pool with it.
THREADED = re.compile(
    r"stdatomic|pthread|\bfork\(|cb_pool_create|cb_runtime_begin|runtime_of\(|training_begin\(|\bcribo_\w+_create\("
)
# The folders whose tests run under the thread sanitizer.
CHECKED = {"unit", "golden", "grad", "program", "examples"}


def empty_suites(script: str, tests: dict[str, set[str]]) -> list[str]:
    """Suites that the script names and no test is in."""
    named = set(re.findall(r"--(?:no-)?suite[ =](\w+)", script))
    return sorted(named - set().union(*tests.values()))


def unlabelled(tests: dict[str, set[str]], sources: dict[str, str]) -> list[str]:
    """Tests that use threads and have no test of the same program in the suite for them."""
    labelled = {sources.get(name) for name, suites in tests.items() if "threads" in suites}
    return sorted(
        name
        for name, suites in tests.items()
        if suites & CHECKED and sources.get(name) not in labelled and THREADED.search(sources.get(name, ""))
    )


def with_headers(path: Path, folders: list[Path]) -> str:
    """The text of a test and of the modules whose headers it includes, as far as the program has them."""
    text = path.read_text()
    for header in re.findall(r'#include "([\w/]+)\.h"', text):
        for folder in folders:
            module = folder / f"{header}.c"
            text += module.read_text() if module.exists() else ""
    return text


def read_tests(build: Path, source: Path) -> tuple[dict[str, set[str]], dict[str, str]]:
    info = build / "meson-info"
    targets = json.loads((info / "intro-targets.json").read_text())
    files = {
        target["filename"][0]: [
            path for group in target["target_sources"] for path in group.get("sources", [])
        ]
        for target in targets
    }
    suites, texts = {}, {}
    for test in json.loads((info / "intro-tests.json").read_text()):
        name = test["name"]
        suites[name] = {suite.rpartition(":")[2] for suite in test["suite"]}
        sources = [Path(path) for path in files.get(test["cmd"][0], [])]
        texts[name] = "".join(with_headers(path, [source / "examples" / "program"]) for path in sources)
    return suites, texts


def check_example() -> None:
    tests = {"a": {"unit", "threads"}, "b": {"unit"}, "c": {"unit"}, "d": {"docs"}}
    sources = {"a": "pthread_create(", "b": "OK(cribo_loss_create(&loss", "c": "return 0;", "d": "fork()"}
    assert unlabelled(tests, sources) == ["b"], unlabelled(tests, sources)
    assert empty_suites("meson test --suite unit --no-suite=slow --suite labels", tests) == ["labels", "slow"]


def main() -> int:
    build, source = (Path(argument).resolve() for argument in sys.argv[1:])
    check_example()
    tests, texts = read_tests(build, source)
    faults = [
        f"tests/run names the suite {name}, which holds no test"
        for name in empty_suites((source / "tests" / "run").read_text(), tests)
    ]
    faults += [
        f"{name} uses threads: add the suite 'threads' to its meson.build"
        for name in unlabelled(tests, texts)
    ]
    print(
        "\n".join(faults)
        or f"{len(tests)} tests, {sum('threads' in suites for suites in tests.values())} with threads"
    )
    return len(faults) > 0


if __name__ == "__main__":
    sys.exit(main())
