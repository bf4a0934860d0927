"""What every backend and every response of the twin builds on."""

from datetime import datetime, timedelta
from typing import Any

import moto.ec2.urls
from moto.core.responses import ActionResult
from moto.ec2.exceptions import DryRunClientError, EC2ClientError, InvalidInstanceIdError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.instances import Instance
from moto.ec2.responses import EC2Response

from local.twin.callers import Caller, find_caller
from local.twin.clock import Action, Timer
from local.twin.consistency import Sightings
from local.twin.errors import refuse
from local.twin.events import Event
from local.twin.matching import find_excess
from local.twin.permissions import FORBIDDEN, check_permission
from local.twin.world import World, current_world

_UNAVAILABLE = 503


class CoreBackend(EC2Backend):
    """EC2 of one account in one Region, with the shared world at hand."""

    def __init__(self, region_name: str, account_id: str) -> None:
        self._instances_by_id: dict[str, Instance] = {}
        self.sightings = Sightings(now=lambda: self.now, lag=lambda: self.world.lag)
        super().__init__(region_name, account_id)

    @property
    def world(self) -> World:
        return current_world()

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    def call_later(self, delay: timedelta, action: Action, *, is_locked: bool = True) -> Timer:
        """Run `action` after `delay` of EC2's time."""
        return self.world.clock.call_later(delay, action, is_locked=is_locked)

    def send_event(self, event: Event) -> None:
        """Send `event` from this account and Region, now."""
        self.world.events.send(event, account_id=self.account_id, region=self.region_name, at=self.now)

    def in_region(self, region: str) -> "CoreBackend":
        """The same account's EC2 in another Region."""
        backend = ec2_backends[self.account_id][region]
        assert isinstance(backend, CoreBackend)
        return backend

    def in_account(self, account_id: str) -> "CoreBackend":
        """Another account's EC2 in the same Region."""
        backend = ec2_backends[account_id][self.region_name]
        assert isinstance(backend, CoreBackend)
        return backend

    def other_accounts(self) -> list[Any]:
        """EC2 of every other account that has been used in this Region."""
        others = [regions for account_id, regions in ec2_backends.items() if account_id != self.account_id]
        return [regions[self.region_name] for regions in others if regions.get(self.region_name) is not None]

    def get_instance(self, instance_id: str) -> Instance:
        """The instance, found by id without walking through all reservations as moto does."""
        if instance_id not in self._instances_by_id:
            for reservation in list(self.reservations.values()):
                for instance in reservation.instances:
                    self._instances_by_id.setdefault(instance.id, instance)
        if instance_id not in self._instances_by_id:
            raise InvalidInstanceIdError(instance_id)
        return self._instances_by_id[instance_id]

    @property
    def _url_module(self) -> Any:
        return moto.ec2.urls

    def _load_amis(self) -> None:
        """Start without moto's 1,301 stock images."""


class Answer(ActionResult):
    """A result of plain dictionaries in botocore's spelling: no guessing of names, which is half of moto's time."""

    def execute_result(self, context: Any) -> Any:
        serializer = context.serializer_class(
            operation_model=context.operation_model, value_picker=lambda picked: picked.obj.get(picked.key)
        )
        serialized = serializer.serialize(self.result)
        return serialized["status_code"], serialized["headers"], serialized["body"]


class CoreResponse(EC2Response):
    """One request: under the clock's lock, logged, and with DryRun for every operation that knows it."""

    _error: str | None = None

    def call_action(self) -> Any:
        world = current_world()
        with world.clock.lock:
            is_admitted = world.request_rates.admit(
                self._get_action(),
                self.params,
                account_id=self.current_account,
                region=self.region,
                now=world.clock.now(),
            )
            caller = find_caller(access_key=self.access_key, account_id=self.current_account)
            status, headers, body = self._answer(caller) if is_admitted else self._throttle()
            world.calls.record(
                at=world.clock.now(),
                account_id=self.current_account,
                caller=caller.arn,
                region=self.region,
                action=self._get_action(),
                parameters=self.params,
                error=self._error,
            )
        return status, headers, body

    def _answer(self, caller: Caller) -> Any:
        try:
            if current_world().permissions.is_enforced:
                refusal = check_permission(self.backend, caller, self._get_action(), self.params)
                if refusal is not None:
                    return self._answer_error(refusal, status=FORBIDDEN)
            excess = find_excess(self._get_param("Filters", []) or self._get_param("Filter", []))
            if excess is not None:
                return self._answer_error(excess)
            if self._get_param("DryRun"):
                return self._answer_error(DryRunClientError())
            return super().call_action()
        except NotImplementedError as error:
            return self._answer_error(refuse("UnsupportedOperation", f"The EC2 twin cannot do this yet: {error}"))

    def _throttle(self) -> Any:
        """EC2's answer to a request above the rate: status 503, and nothing has happened."""
        return self._answer_error(refuse("RequestLimitExceeded", "Request limit exceeded."), status=_UNAVAILABLE)

    def _answer_error(self, error: EC2ClientError, *, status: int | None = None) -> Any:
        usual, headers, body = self.serialized(ActionResult(error))
        headers, body = self._enrich_response(headers, body)
        if status is None:
            return usual, headers, body
        return status, {**headers, "status": status}, body

    def serialized(self, action_result: ActionResult) -> Any:
        if isinstance(action_result.result, Exception):
            self._error = getattr(action_result.result, "code", type(action_result.result).__name__)
        return super().serialized(action_result)

    @property
    def backend(self) -> Any:
        """The twin's backend of the caller's account and Region."""
        return ec2_backends[self.current_account][self.region]
