"""Runs the commands of a document in this process: `hikae` itself, `aws` by botocore's models, `export`.

`aws` is done as the AWS CLI does it, as far as the documents use it: an operation and its options are looked up in the
service's model, and one that is not there is an error.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import jmespath
import time_machine
from botocore import xform_name
from click.testing import CliRunner, Result

from hikae_cli.main import main
from local.inprocess import Installation
from tests.functional.docs.documents import ROOT, blocks


def commands_of(path: Path) -> list[str]:
    """Every command of a document, in order, continued lines joined."""
    found = []
    for block in blocks("sh"):
        if block.path == path:
            found += [line.strip() for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]
    return found


@dataclass(slots=True)
class Shell:
    """`names` are what stands in the document for what there is; `before` is what happens before a command is typed."""

    installation: Installation
    names: dict[str, Callable[[], str]]
    setenv: Callable[[str, str], None]
    before: dict[str, Callable[[], Any]] = field(default_factory=dict)
    sam: list[list[str]] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)

    def run(self, line: str) -> None:
        """Type one line; whoever is asked says yes."""
        if line in self.before:
            self.before[line]()
        typed = line
        for name, actual in self.names.items():
            if name in typed:
                typed = typed.replace(name, actual())
        program, *words = shlex.split(typed)
        {"export": self._export, "hikae": self._hikae, "aws": self._aws, "sam": self._sam}[program](line, words)

    def _export(self, _: str, words: list[str]) -> None:
        for word in words:
            name, _, value = word.partition("=")
            self.setenv(name, value)

    def _hikae(self, line: str, words: list[str]) -> None:
        here = Path.cwd()
        arguments = [str(ROOT / word) if word.startswith("docs/") else word for word in words]
        if {"restore", "start"} & set(words[:2]) or "--wait" in words:
            arguments += [] if "--dry-run" in words else ["--interval", "0"]
        try:
            with time_machine.travel(self.installation.twin.clock.now(), tick=False):
                result = CliRunner().invoke(main, arguments, input="y\n")
        finally:
            os.chdir(here)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.results[line] = result

    def _sam(self, _: str, words: list[str]) -> None:
        self.sam.append(words)

    def _aws(self, line: str, words: list[str]) -> None:
        service, operation, *options = words
        given: dict[str, list[str]] = {}
        for word in options:
            if word.startswith("--"):
                given[word[2:]] = []
            else:
                given[list(given)[-1]].append(word)
        region, query = given.pop("region", [None])[0], given.pop("query", [None])[0]
        given.pop("output", None)
        client = boto3.client({"s3api": "s3"}.get(service, service), region_name=region)
        method = operation.replace("-", "_")
        model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
        members = {xform_name(name, "-"): (name, shape) for name, shape in model.input_shape.members.items()}
        request = {members[key][0]: _read(members[key][1], values) for key, values in given.items()}
        answer = getattr(client, method)(**request)
        self.answers[line] = jmespath.search(query, answer) if query else answer


def _read(shape: Any, values: list[str]) -> Any:
    if shape.type_name == "list" and shape.member.type_name == "structure":
        return [_shorthand(shape.member, value) for value in values]
    if shape.type_name == "structure":
        return _shorthand(shape, values[0])
    if shape.type_name == "list":
        return values
    if shape.type_name == "blob":
        return Path(values[0]).read_bytes()
    return values[0] if shape.type_name == "string" else json.loads(values[0])


def _shorthand(shape: Any, text: str) -> Mapping[str, Any]:
    """`Name=tag-key,Values=a,b`: https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-shorthand.html"""
    _, *parts = re.split(r"(?:^|,)(\w+)=", text)
    pairs = dict(zip(parts[::2], parts[1::2], strict=True))
    return {
        name: value.split(",") if shape.members[name].type_name == "list" else value for name, value in pairs.items()
    }
