"""`python -m bench.mutation`: change the code that decides about deletion, and see that a test notices every change.

mutmut makes the changes, one at a time, in a copy of the domain and its unit tests. A module's changes must be noticed
by its own tests (`test_<module>*.py`): what another module's tests notice by chance is no promise. A change that no
test notices is an error, unless `bench/equivalent_mutants.toml` lists it with the reason why it changes nothing; a
listed one that does not come up any more is an error, too.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
EQUIVALENTS = Path(__file__).with_name("equivalent_mutants.toml")
MODULES = ("guards", "pruning", "replication", "retention")
SETTINGS = """\
[project]
name = "mutants-of-hikae"
version = "0"

[tool.mutmut]
source_paths = ["hikae/domain/{module}.py"]
also_copy = ["hikae", "tests"]
pytest_add_cli_args_test_selection = [{tests}]
timeout_multiplier = 10.0
timeout_constant = 3.0

[tool.pytest.ini_options]
pythonpath = ["."]
addopts = "--import-mode=importlib -p no:cacheprovider"
"""
# The same examples every time, none of them kept, and no search for the smallest that fails: what fails is enough.
# Examples come first, properties last, and nothing fails for being slow: this may run on a busy machine.
# What was remembered before the change is forgotten: mutmut forks each test from a process that has run them all.
CONFTEST = """\
import functools
import gc

import hypothesis

hypothesis.settings.register_profile(
    "mutants",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=40,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    report_multiple_bugs=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("mutants")


def pytest_sessionstart(session):
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper) and each.__module__.startswith("hikae"):
            each.cache_clear()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: hasattr(item.obj, "hypothesis"))
"""
_FOUND = re.compile(r"^\s*(hikae\.domain\.(\w+)\.\S+): (.+)$", re.MULTILINE)
_MANGLED = re.compile(r"x(?:_|ǁ(\w+)ǁ)(\w+)__mutmut_\d+$")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of the code: in which function of which module, what it was, what it became."""

    module: str
    function: str
    was: str
    became: str

    def __str__(self) -> str:
        return f"{self.module}.{self.function}\n  - {self.was}\n  + {self.became}"


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of all mutants of one module."""

    mutants: int
    killed: int
    survivors: frozenset[Mutant]


def main() -> int:
    """Run all mutants of all modules, or of those that the command line names."""
    modules = sys.argv[1:] or MODULES
    if unknown := sorted(set(modules) - set(MODULES)):
        sys.stderr.write(f"no module of this kind: {', '.join(unknown)}; there are {', '.join(MODULES)}\n")
        return 2
    listed = [
        Mutant(module=each["module"], function=each["function"], was=each["was"], became=each["became"])
        for each in tomllib.loads(EQUIVALENTS.read_text())["mutant"]
        if each["why"]
    ]
    is_clean = True
    for module in modules:
        equivalent = {mutant for mutant in listed if mutant.module == module}
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            tried = _try_all(module, Path(folder))
        unnoticed, gone = tried.survivors - equivalent, equivalent - tried.survivors
        for mutant in sorted(unnoticed, key=str):
            sys.stdout.write(f"no test notices: {mutant}\n")
        for mutant in sorted(gone, key=str):
            sys.stdout.write(f"listed as equivalent, and not among the survivors: {mutant}\n")
        sys.stdout.write(
            f"{module}: {tried.mutants} mutants, {tried.killed} killed, {len(unnoticed)} survivors, "
            f"{len(tried.survivors & equivalent)} equivalent\n"
        )
        sys.stdout.flush()
        is_clean = is_clean and not unnoticed and not gone
    return 0 if is_clean else 1


def _try_all(module: str, folder: Path) -> Tried:
    shutil.copytree(ROOT / "layers/core/hikae", folder / "hikae", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "tests/unit/domain", folder / "tests/unit/domain", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "tests/conftest.py").write_text(CONFTEST)
    tests = sorted((folder / "tests/unit/domain").glob(f"test_{module}*.py"))
    settings = SETTINGS.format(module=module, tests=", ".join(f'"{test.relative_to(folder)}"' for test in tests))
    (folder / "pyproject.toml").write_text(settings)
    run = _mutmut("run", folder)
    if run.returncode != 0:
        raise RuntimeError(f"mutmut has failed on {module}:\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}")
    _mutmut("export-cicd-stats", folder).check_returncode()
    stats = json.loads((folder / "mutants/mutmut-cicd-stats.json").read_text())
    results = _mutmut("results", folder)
    results.check_returncode()
    found = _FOUND.findall(results.stdout)
    if stats["total"] == 0 or stats["total"] != stats["killed"] + len(found):
        raise RuntimeError(f"mutmut does not add up on {module}: {stats}, and {len(found)} that were not killed")
    survivors = frozenset(_read(name, state, folder) for name, _, state in found)
    return Tried(mutants=stats["total"], killed=stats["killed"], survivors=survivors)


def _read(name: str, state: str, folder: Path) -> Mutant:
    shown = _mutmut("show", folder, name)
    shown.check_returncode()
    lines = shown.stdout.splitlines()
    was = " ".join(line[1:].strip() for line in lines if line.startswith("-") and not line.startswith("---"))
    became = " ".join(line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++"))
    _, _, module, mangled = name.split(".")
    parts = _MANGLED.match(mangled)
    function = ".".join(part for part in parts.groups() if part) if parts else mangled
    return Mutant(
        module=module, function=function, was=was, became=became if state == "survived" else f"{became} ({state})"
    )


def _mutmut(command: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    return subprocess.run([mutmut, command, *arguments], cwd=folder, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
