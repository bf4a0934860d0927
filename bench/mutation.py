"""`python -m bench.mutation`: change the code that decides about deletion, and see that a test notices every change.

mutmut makes the changes, one at a time, in a copy of the domain and its unit tests. A change that no test notices is
an error, unless `bench/equivalent_mutants.toml` lists it with the reason why it changes nothing; a listed one that does
not come up any more is an error, too.
"""

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
source_paths = [{sources}]
also_copy = ["hikae", "tests"]
pytest_add_cli_args_test_selection = [{tests}]

[tool.pytest.ini_options]
pythonpath = ["."]
addopts = "--import-mode=importlib -p no:cacheprovider"
"""
_FOUND = re.compile(r"^\s*(hikae\.domain\.(\w+)\.\S+): (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of the code: in which module, what it was, what it became."""

    module: str
    was: str
    became: str

    def __str__(self) -> str:
        return f"{self.module}\n  - {self.was}\n  + {self.became}"


def main() -> int:
    """Run all mutants of all modules."""
    listed = {
        Mutant(module=each["module"], was=each["was"], became=each["became"]): each["why"]
        for each in tomllib.loads(EQUIVALENTS.read_text())["mutant"]
    }
    survivors: set[Mutant] = set()
    for module in sys.argv[1:] or MODULES:
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            survivors |= _survivors_of(module, Path(folder))
    unnoticed = survivors - listed.keys()
    gone = {mutant for mutant in listed if mutant.module in (sys.argv[1:] or MODULES)} - survivors
    for mutant in sorted(unnoticed, key=str):
        sys.stdout.write(f"no test notices: {mutant}\n")
    for mutant in sorted(gone, key=str):
        sys.stdout.write(f"listed as equivalent, and not among the survivors: {mutant}\n")
    sys.stdout.write(f"{len(survivors)} survivors, {len(survivors & listed.keys())} of them equivalent\n")
    return 1 if unnoticed or gone else 0


def _survivors_of(module: str, folder: Path) -> set[Mutant]:
    shutil.copytree(ROOT / "layers/core/hikae", folder / "hikae", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests/unit/domain", folder / "tests/unit/domain")
    test = f"tests/unit/domain/test_{module}.py"
    settings = SETTINGS.format(sources=f'"hikae/domain/{module}.py"', tests=f'"{test}"')
    (folder / "pyproject.toml").write_text(settings)
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    run = subprocess.run([mutmut, "run"], cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"mutmut has failed on {module}:\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}")
    tried = run.stdout.replace("\r", "\n").strip().splitlines()[-2:]
    sys.stdout.write(f"{module}: {' '.join(' '.join(tried).split())}\n")
    results = subprocess.run([mutmut, "results"], cwd=folder, capture_output=True, text=True, check=True).stdout
    return {_read(mutmut, name, state, folder) for name, _, state in _FOUND.findall(results)}


def _read(mutmut: str, name: str, state: str, folder: Path) -> Mutant:
    shown = subprocess.run([mutmut, "show", name], cwd=folder, capture_output=True, text=True, check=True).stdout
    lines = shown.splitlines()
    was = " ".join(line[1:].strip() for line in lines if line.startswith("-") and not line.startswith("---"))
    became = " ".join(line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++"))
    module = name.split(".")[2]
    return Mutant(module=module, was=was, became=became if state == "survived" else f"{became} ({state})")


if __name__ == "__main__":
    sys.exit(main())
