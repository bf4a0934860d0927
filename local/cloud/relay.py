"""Carry the twin's events to the EventBridge rules in ministack.

On AWS, EC2's events arrive on the default bus of their Region by themselves. PutEvents refuses a source that starts
with `aws.`, there as here, so the relay does what EventBridge does after that point: find the matching rules of the
bus, shape the input, deliver to each target, and follow a target that is itself a bus, also into another Region.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-targets.html
"""

import argparse
import json
import logging
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from local.cloud.clients import clients_of

log = logging.getLogger("relay")

_RULES_FRESH_SECONDS = 3.0
_POLL_SECONDS = 10
_MAX_HOPS = 5  # a bus that forwards to itself in a circle must come to an end

Event = Mapping[str, Any]


class Relay:
    """Delivers events; `clients` answers a boto3 client for (service, Region)."""

    def __init__(self, *, clients: Callable[[str, str], Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._clients = clients
        self._clock = clock
        self._rules: dict[tuple[str, str], tuple[float, list[Mapping[str, Any]]]] = {}

    def deliver(self, event: Event) -> int:
        """Deliver one event to every matching rule of its Region's default bus; answer how many deliveries succeeded.

        What fails is logged and stops nothing else.
        """
        return self._deliver(event, region=event["region"], bus="default", hops=0)

    def _deliver(self, event: Event, *, region: str, bus: str, hops: int) -> int:
        delivered = 0
        for rule in self._rules_of(region=region, bus=bus):
            try:
                if not self._matches(event, rule=rule, region=region):
                    continue
            except Exception:
                log.exception("rule %s in %s could not be tested against %s", rule["Name"], region, event.get("id"))
                continue
            for target in rule["Targets"]:
                try:
                    delivered += self._send(event, rule=rule, target=target, region=region, hops=hops)
                except Exception:
                    log.exception("event %s not delivered by %s to %s", event.get("id"), rule["Name"], target["Arn"])
        return delivered

    def _rules_of(self, *, region: str, bus: str) -> list[Mapping[str, Any]]:
        now = self._clock()
        read_at, rules = self._rules.get((region, bus), (float("-inf"), []))
        if now - read_at < _RULES_FRESH_SECONDS:
            return rules
        events = self._clients("events", region)
        rules = []
        try:
            for rule in _pages(events.list_rules, "Rules", EventBusName=bus):
                if rule.get("State") == "DISABLED" or not rule.get("EventPattern"):
                    continue
                targets = _pages(events.list_targets_by_rule, "Targets", Rule=rule["Name"], EventBusName=bus)
                rules.append({**rule, "Targets": targets})
        except Exception:
            log.exception("the rules of bus %s in %s cannot be read", bus, region)
        self._rules[region, bus] = (now, rules)
        return rules

    def _matches(self, event: Event, *, rule: Mapping[str, Any], region: str) -> bool:
        events = self._clients("events", region)
        answer = events.test_event_pattern(EventPattern=rule["EventPattern"], Event=json.dumps(event))
        return bool(answer["Result"])

    def _send(self, event: Event, *, rule: Mapping[str, Any], target: Mapping[str, Any], region: str, hops: int) -> int:
        arn = target["Arn"]
        _, _, service, target_region, account, resource = arn.split(":", 5)
        if service == "events":
            if hops >= _MAX_HOPS:
                log.error("event %s has been forwarded %d times; not forwarded to %s", event.get("id"), hops, arn)
                return 0
            bus = resource.removeprefix("event-bus/")
            return self._deliver(event, region=target_region or region, bus=bus, hops=hops + 1)
        body = shape_input(event, rule_arn=rule["Arn"], rule_name=rule["Name"], target=target)
        if service == "lambda":
            function = self._clients("lambda", target_region)
            function.invoke(FunctionName=arn, InvocationType="Event", Payload=body.encode())
        elif service == "sqs":
            queues = self._clients("sqs", target_region)
            url = queues.get_queue_url(QueueName=resource, QueueOwnerAWSAccountId=account)["QueueUrl"]
            group = target.get("SqsParameters", {}).get("MessageGroupId")
            queues.send_message(QueueUrl=url, MessageBody=body, **({"MessageGroupId": group} if group else {}))
        elif service == "sns":
            self._clients("sns", target_region).publish(TopicArn=arn, Message=body)
        elif service == "states":
            self._clients("stepfunctions", target_region).start_execution(stateMachineArn=arn, input=body)
        else:
            log.error("rule %s has a target the relay cannot deliver to: %s", rule["Name"], arn)
            return 0
        log.info("%s %s → %s by %s", event.get("detail-type"), event.get("id"), arn, rule["Name"])
        return 1


def shape_input(event: Event, *, rule_arn: str, rule_name: str, target: Mapping[str, Any]) -> str:
    """What a target receives: its constant Input, a part of the event, a filled-in template, or the whole event.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
    """
    if target.get("Input") is not None:
        return str(target["Input"])
    if target.get("InputPath"):
        return json.dumps(_at_path(event, target["InputPath"]))
    transformer = target.get("InputTransformer")
    if not transformer:
        return json.dumps(event)
    values = {name: _at_path(event, path) for name, path in transformer.get("InputPathsMap", {}).items()}
    values |= {
        "aws.events.rule-arn": rule_arn,
        "aws.events.rule-name": rule_name,
        "aws.events.event.ingestion-time": event.get("time"),
        "aws.events.event.json": dict(event),
        "aws.events.event": {key: value for key, value in event.items() if key != "detail"},
    }
    return _fill_in(transformer["InputTemplate"], values)


def _at_path(event: Event, path: str) -> Any:
    """The value at a path of names and indexes such as `$.detail.state` or `$.resources[0]`; None without one."""
    value: Any = event
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path.removeprefix("$")):
        try:
            value = value[int(index)] if index else value[name]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _fill_in(template: str, values: Mapping[str, Any]) -> str:
    """Replace `<name>` in a template: bare inside a JSON string, as JSON elsewhere; an unknown name becomes empty."""

    def value_of(match: re.Match[str]) -> str:
        value = values.get(match[1])
        is_inside_string = template[: match.start()].replace('\\"', "").count('"') % 2 == 1
        if not is_inside_string:
            return "" if value is None else json.dumps(value)
        text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        return json.dumps(text)[1:-1]

    return re.sub(r"<([A-Za-z0-9_.\-]+)>", value_of, template)


def _pages(call: Callable[..., Any], key: str, **arguments: Any) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        answer = call(**arguments, **token)
        found += answer.get(key, [])
        if not answer.get("NextToken"):
            return found
        token = {"NextToken": answer["NextToken"]}


def follow(*, events_url: str, relay: Relay) -> None:
    """Deliver the twin's events in their order, for ever; a twin that does not answer is asked again."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    after = 0
    while True:
        url = f"{events_url}/_twin/events?after={after}&wait={_POLL_SECONDS}"
        try:
            with opener.open(url, timeout=_POLL_SECONDS + 30) as response:
                batch = json.loads(response.read())
        except (OSError, ValueError) as error:
            log.warning("the twin does not answer: %s", error)
            time.sleep(0.5)
            continue
        for item in batch:
            after = max(after, item["seq"])
            try:
                relay.deliver(item["event"])
            except Exception:
                log.exception("event %s was not understood", item["seq"])
        if not batch:
            time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.cloud.relay", description=__doc__)
    parser.add_argument("--events", required=True, help="where the twin answers")
    parser.add_argument("--endpoint", required=True, help="where ministack answers")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    follow(events_url=arguments.events, relay=Relay(clients=clients_of(arguments.endpoint)))


if __name__ == "__main__":
    main()
