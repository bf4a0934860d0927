"""The template's alarms, and which of them a run brings to ALARM: by their metric, dimensions, period and threshold.

CloudWatch counts periods from the clock's, not from the first value, and an alarm is in ALARM when every period that it
looks at is breaching. What queues, functions and Step Functions publish by themselves, the suite says in their place.
Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from hikae.domain.model import SiteRole
from local.chaos.template import read_template

INSTALLATION = "main"
_COMPARES: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
}
_STATISTICS: Mapping[str, Callable[[Iterable[float]], float]] = {"Sum": sum, "Maximum": max}


@dataclass(frozen=True, slots=True, kw_only=True)
class Datum:
    """One value of a metric. `dimensions` are in alphabetical order."""

    site: SiteRole
    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    at: datetime
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One alarm of a site. `period` is in seconds; `tells` is whether anybody hears of it."""

    name: str
    site: SiteRole
    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    period: int
    evaluations: int
    comparison: str
    threshold: float
    missing: str
    tells: bool

    def watches(self, datum: Datum) -> bool:
        """Whether the value is one of this alarm's metric: of its namespace, name and all of its dimensions."""
        mine = (self.site, self.namespace, self.metric, self.dimensions)
        return mine == (datum.site, datum.namespace, datum.metric, datum.dimensions)

    def goes_off(self, data: Iterable[Datum]) -> bool:
        """Whether these values bring the alarm to ALARM at any time between the first and the last of them."""
        periods: dict[int, list[float]] = {}
        for datum in data:
            if self.watches(datum):
                periods.setdefault(int(datum.at.timestamp()) // self.period, []).append(datum.value)
        if not periods:
            return False
        in_a_row = 0
        for number in range(min(periods), max(periods) + 1):
            values = periods.get(number)
            if values is None and self.missing == "ignore":
                continue
            is_breaching = self.missing == "breaching" if values is None else self._is_breaching(values)
            in_a_row = in_a_row + 1 if is_breaching else 0
            if in_a_row >= self.evaluations:
                return True
        return False

    def _is_breaching(self, values: Iterable[float]) -> bool:
        return _COMPARES[self.comparison](_STATISTICS[self.statistic](values), self.threshold)


@cache
def read_alarms() -> tuple[Alarm, ...]:
    """Every alarm of both sites, as the template makes them with its defaults."""
    template = read_template()
    only = {"IsPrimary": (SiteRole.PRIMARY,), "IsRecovery": (SiteRole.RECOVERY,)}
    return tuple(
        _read(name, _Resolver(template, site).resolve(resource["Properties"]), site)
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
        for site in only.get(resource.get("Condition", ""), tuple(SiteRole))
    )


def which_go_off(data: Iterable[Datum]) -> tuple[Alarm, ...]:
    """The alarms that these values bring to ALARM and that somebody hears of."""
    data = tuple(data)
    return tuple(alarm for alarm in read_alarms() if alarm.tells and alarm.goes_off(data))


def dimensions_of(**dimensions: str) -> tuple[tuple[str, str], ...]:
    """Dimensions in the order in which they are compared."""
    return tuple(sorted(dimensions.items()))


def _read(name: str, properties: Mapping[str, Any], site: SiteRole) -> Alarm:
    return Alarm(
        name=name,
        site=site,
        namespace=properties["Namespace"],
        metric=properties["MetricName"],
        dimensions=dimensions_of(**{each["Name"]: each["Value"] for each in properties["Dimensions"]}),
        statistic=properties["Statistic"],
        period=int(properties["Period"]),
        evaluations=int(properties["EvaluationPeriods"]),
        comparison=properties["ComparisonOperator"],
        threshold=float(properties["Threshold"]),
        missing=properties["TreatMissingData"],
        tells=properties.get("ActionsEnabled", True) and "Alerts" in properties["AlarmActions"],
    )


class _Resolver:
    """CloudFormation's functions, as far as alarms use them; a resource stands for itself by its logical id."""

    def __init__(self, template: Mapping[str, Any], site: SiteRole) -> None:
        self._conditions = template["Conditions"]
        self._parameters = {name: each.get("Default", "") for name, each in template["Parameters"].items()}
        self._parameters |= {"Installation": INSTALLATION, "Site": site.value}

    def resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.resolve(each) for each in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(function, argument)] = value.items()
            known = getattr(self, f"_{function.removeprefix('Fn::').lower()}", None)
            if known is not None:
                return known(argument)
        return {key: self.resolve(each) for key, each in value.items()}

    def _ref(self, name: str) -> Any:
        return self._parameters.get(name, name)

    def _getatt(self, argument: Any) -> str:
        name: str = argument[0] if isinstance(argument, list) else argument.partition(".")[0]
        return name

    def _sub(self, text: str) -> str:
        return text  # only descriptions are made like this

    def _condition(self, name: str) -> bool:
        return bool(self.resolve(self._conditions[name]))

    def _if(self, argument: Any) -> Any:
        condition, yes, no = argument
        return self.resolve(yes if self._condition(condition) else no)

    def _not(self, argument: Any) -> bool:
        [condition] = argument
        return not self.resolve(condition)

    def _equals(self, argument: Any) -> bool:
        one, other = self.resolve(argument)
        return bool(one == other)

    def _select(self, argument: Any) -> Any:
        number, values = argument
        return self.resolve(values)[number]

    def _split(self, argument: Any) -> list[str]:
        separator, text = argument
        parts: list[str] = self.resolve(text).split(separator)
        return parts
