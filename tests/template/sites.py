"""What one site gets from the template: translated by SAM's own translator, its conditions and parameters resolved."""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
ACCOUNT = "123456789012"
PRIMARY_REGION = "us-east-1"
RECOVERY_REGION = "us-west-2"
WAKE_BUS = f"arn:aws:events:{RECOVERY_REGION}:{ACCOUNT}:event-bus/hikae-main-recovery"

PRIMARY = {"Site": "primary", "WakeBusArn": WAKE_BUS}
RECOVERY = {"Site": "recovery", "Primaries": f"{ACCOUNT}/{PRIMARY_REGION}"}

_GONE = object()


def key_arn(region: str) -> str:
    return f"arn:aws:kms:{region}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True, slots=True)
class Site:
    """A site's own resources and outputs. What refers to a resource is left as Ref, Fn::GetAtt or Fn::Sub."""

    name: str
    region: str
    resources: dict[str, Any]
    outputs: dict[str, Any]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of every resource of this type, by logical id."""
        found = {name: each for name, each in self.resources.items() if each["Type"] == kind}
        return {name: each.get("Properties", {}) for name, each in found.items()}

    def template(self) -> str:
        """This site alone as a template that cfn-lint can read."""
        body = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": self.resources, "Outputs": self.outputs}
        return json.dumps(body)

    def statements(self, role: str) -> list[dict[str, Any]]:
        """Every statement of a role's inline policies."""
        policies = self.resources[role]["Properties"].get("Policies", [])
        return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]

    def role_of(self, function: str) -> str:
        """The logical id of the role a function runs as."""
        return target(self.of_type("AWS::Lambda::Function")[function]["Role"])


def load_template() -> dict[str, Any]:
    """The template as it is written, for one test to change as it likes."""
    return copy.deepcopy(_parsed())


def resolve(template: dict[str, Any], parameters: Mapping[str, str], *, region: str) -> Site:
    """What a deployment of `template` with `parameters` in `region` makes."""
    translated = translate(template, parameters, region=region)
    resolver = _Resolver(translated, parameters, region)
    return Site(
        name=parameters["Site"],
        region=region,
        resources=resolver.kept(translated["Resources"]),
        outputs=resolver.kept(translated["Outputs"]),
    )


def refusals(template: dict[str, Any], parameters: Mapping[str, str], *, region: str) -> list[str]:
    """What the template's rules say against a deployment with `parameters`."""
    resolver = _Resolver(template, parameters, region)
    return [
        assertion["AssertDescription"]
        for rule in template["Rules"].values()
        if resolver.holds(rule.get("RuleCondition", {"Fn::Equals": ["", ""]}))
        for assertion in rule["Assertions"]
        if not resolver.holds(assertion["Assert"])
    ]


def translate(template: dict[str, Any], parameters: Mapping[str, str], *, region: str) -> dict[str, Any]:
    """What CloudFormation gets before it looks at conditions: SAM's types replaced, nothing left out."""
    template = copy.deepcopy(template)
    for resource in template["Resources"].values():
        for uri in ("CodeUri", "ContentUri", "DefinitionUri"):
            if uri in resource.get("Properties", {}):
                resource["Properties"][uri] = "s3://artifacts/code.zip"  # as `sam package` leaves it
    parser = Parser()
    translator = Translator(managed_policy_map={}, sam_parser=parser, boto_session=boto3.Session(region_name=region))
    return translator.translate(template, dict(parameters))


@cache
def primary() -> Site:
    return resolve(load_template(), PRIMARY, region=PRIMARY_REGION)


@cache
def recovery() -> Site:
    return resolve(load_template(), RECOVERY, region=RECOVERY_REGION)


def target(value: Any) -> str:
    """The logical id that a Ref or Fn::GetAtt points at; an ordinary text is returned as it is."""
    match value:
        case {"Ref": name}:
            return name
        case {"Fn::GetAtt": [name, *_]}:
            return name
        case {"Fn::GetAtt": str(path)}:
            return path.split(".")[0]
    return str(value)


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@cache
def _parsed() -> dict[str, Any]:
    return yaml_parse(TEMPLATE.read_text())


class _Resolver:
    def __init__(self, template: dict[str, Any], parameters: Mapping[str, str], region: str) -> None:
        self._conditions = template["Conditions"]
        self._values: dict[str, Any] = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": "aws",
            "AWS::Region": region,
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": f"hikae-{parameters['Site']}",
            "AWS::NoValue": _GONE,
        }
        for name, definition in template["Parameters"].items():
            value = parameters.get(name, definition.get("Default"))
            is_list = definition["Type"] == "CommaDelimitedList"
            self._values[name] = str(value).split(",") if is_list else str(value)

    def kept(self, section: dict[str, Any]) -> dict[str, Any]:
        """The resources or outputs whose condition holds, resolved."""
        return {
            name: self._value({key: each for key, each in body.items() if key != "Condition"})
            for name, body in section.items()
            if "Condition" not in body or self.holds(body["Condition"])
        }

    def holds(self, condition: Any) -> bool:
        """Whether a condition, or what a rule asserts, is so."""
        match condition:
            case str(name):
                return self.holds(self._conditions[name])
            case {"Condition": name}:
                return self.holds(name)
            case {"Fn::Equals": [left, right]}:
                return bool(self._value(left) == self._value(right))
            case {"Fn::Not": [inner]}:
                return not self.holds(inner)
            case {"Fn::And": inner}:
                return all(self.holds(each) for each in inner)
            case {"Fn::Or": inner}:
                return any(self.holds(each) for each in inner)
        raise AssertionError(f"a condition this test does not know: {condition}")

    def _value(self, value: Any) -> Any:
        match value:
            case {"Ref": str(name)} if name in self._values:
                answer = self._values[name]
            case {"Fn::If": [condition, yes, no]}:
                answer = self._value(yes if self.holds(condition) else no)
            case {"Fn::Join": [separator, parts]}:
                answer = str(separator).join(self._value(parts))
            case {"Fn::Select": [index, parts]} if isinstance(self._value(parts), list):
                answer = self._value(parts)[int(index)]
            case {"Fn::Split": [separator, text]}:
                answer = str(self._value(text)).split(separator)
            case {"Fn::Sub": str(text)}:
                answer = self._substitute(text, {})
            case {"Fn::Sub": [text, own]}:
                answer = self._substitute(text, own)
            case dict():
                answer = {key: each for key, each in self._values_of(value.items()) if each is not _GONE}
            case list():
                answer = [each for _, each in self._values_of(enumerate(value)) if each is not _GONE]
            case _:
                answer = value
        return answer

    def _values_of(self, items: Any) -> Iterator[tuple[Any, Any]]:
        for key, each in items:
            yield key, self._value(each)

    def _substitute(self, text: str, own: dict[str, Any]) -> Any:
        known = {**self._values, **{name: self._value(each) for name, each in own.items()}}

        def replacement(match: re.Match[str]) -> str:
            value = known.get(match[1], match[0])
            return f"${{{target(value)}}}" if isinstance(value, dict) else str(value)

        answer = re.sub(r"\$\{([^}]+)\}", replacement, text)
        return {"Fn::Sub": answer} if "${" in answer else answer
