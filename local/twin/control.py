"""What tests and the demo tell and ask the twin's server, under `/_twin/`: nothing of it is EC2's API."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from werkzeug.exceptions import BadRequest, HTTPException, NotFound
from werkzeug.wrappers import Request, Response

from local.twin import recycle_bin
from local.twin.images import seed_image
from local.twin.inspection import describe_state
from local.twin.server_faults import ServerFault, ServerFaults
from local.twin.services import Service, services_of
from local.twin.world import World

PREFIX = "/_twin/"
LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The routes.

    GET health: {"status": "ok"}.
    GET events?after=N&wait=SECONDS: [{"seq": N + 1, "event": envelope}, ...], waiting for the next if there is none.
    GET calls?after=N: what EC2 was asked. GET high-water: {"pending copies/REGION": N}.
    POST write {"region", "volume_id", "text", "changed_bytes"?}: write to a volume; answers its digest.
    POST freeze, thaw {"region", "volume_ids"}: hold back and let through what is written.
    POST seed {"region", "volume_id", "start_time", "tags"?, "description"?, "text"?, "size"?, "kms_key_id"?,
    "owner_id"?, "public"?, "error"?}: a snapshot of the past, completed or with this error; answers {"snapshot_id"}.
    POST seed-image {"region", "name", "created_at", "snapshot_ids", "tags"?, "source_instance_id"?, "description"?}: an
    available image of the past on completed snapshots, the root device's first; answers {"image_id"}.
    POST fail {"region", "snapshot_id", "message"?}: let a pending snapshot end in error.
    POST serve {"region", "tags", "port", "kind"?, "status"?, "body"?, "location"?, "seconds"?}: let instances with
    these tags serve this at their private address, if that is on loopback, once they come up: see local.twin.services.
    POST stick {"region", "instance_id"}: let an instance stay in `shutting-down` once it gets there.
    POST refuse-deletion {"region", "snapshot_id", "code"}: let every deletion of a snapshot fail; null ends that.
    POST backdate-bin-rule {"region", "rule_id", "created_at"}: let a rule of the Recycle Bin be in force.
    POST lose {"region"}: answer no request that is signed for this Region any more; null ends that.
    POST fault, DELETE fault: see local.twin.server_faults.
    GET state/REGION: volumes, snapshots, images and instances with digests and lineage.
    """

    world: World
    account_id: str
    faults: ServerFaults = field(default_factory=ServerFaults)

    def answer(self, request: Request) -> Response:
        """Carry out one control request."""
        name, _, rest = request.path.removeprefix(PREFIX).partition("/")
        routes: dict[tuple[str, str], Callable[[], Any]] = {
            ("GET", "health"): lambda: {"status": "ok"},
            ("GET", "events"): lambda: self._events(request),
            ("GET", "calls"): lambda: self._calls(request),
            ("GET", "high-water"): lambda: {
                f"{kind}/{region}": level for (kind, region), level in self.world.calls.high_water.items()
            },
            ("GET", "state"): lambda: self._locked(lambda: describe_state(self._backend(rest))),
            ("POST", "fault"): lambda: self._strike(_body(request)),
            ("DELETE", "fault"): self._relent,
            ("POST", "write"): lambda: self._locked(lambda: self._write(_body(request))),
            ("POST", "freeze"): lambda: self._locked(lambda: self._freeze(_body(request))),
            ("POST", "thaw"): lambda: self._locked(lambda: self._thaw(_body(request))),
            ("POST", "seed"): lambda: self._locked(lambda: self._seed(_body(request))),
            ("POST", "seed-image"): lambda: self._locked(lambda: self._seed_image(_body(request))),
            ("POST", "fail"): lambda: self._locked(lambda: self._fail(_body(request))),
            ("POST", "serve"): lambda: self._locked(lambda: self._serve(_body(request))),
            ("POST", "stick"): lambda: self._locked(lambda: self._stick(_body(request))),
            ("POST", "refuse-deletion"): lambda: self._locked(lambda: self._refuse_deletion(_body(request))),
            ("POST", "backdate-bin-rule"): lambda: self._locked(lambda: self._backdate_bin_rule(_body(request))),
            ("POST", "lose"): lambda: self._locked(lambda: self._lose(_body(request))),
        }
        try:
            route = routes.get((request.method, name))
            if route is None:
                raise NotFound(f"There is no {request.method} {request.path}.")
            return _reply(route())
        except HTTPException as error:
            return _reply({"error": error.description}, status=error.code or 500)
        except (KeyError, TypeError, ValueError, EC2ClientError) as error:
            return _reply({"error": f"{type(error).__name__}: {error}"}, status=400)

    def _locked(self, act: Callable[[], Any]) -> Any:
        with self.world.clock.lock:
            return act()

    def _backend(self, region: str) -> Any:
        return ec2_backends[self.account_id][region]

    def _events(self, request: Request) -> Any:
        after = int(request.args.get("after", 0))
        wait = min(LONGEST_WAIT, float(request.args.get("wait", 0)))
        found = self.world.events.wait_after(after, seconds=wait)
        return [{"seq": after + number, "event": envelope} for number, envelope in enumerate(found, start=1)]

    def _calls(self, request: Request) -> Any:
        return [
            {
                "number": call.number,
                "at": call.at.isoformat(),
                "account": call.account_id,
                "caller": call.caller,
                "region": call.region,
                "action": call.action,
                "parameters": call.parameters,
                "error": call.error,
            }
            for call in self.world.calls.calls[int(request.args.get("after", 0)) :]
        ]

    def _strike(self, body: dict[str, Any]) -> Any:
        self.faults.rules.append(ServerFault.read(body))
        return {}

    def _relent(self) -> Any:
        self.faults.rules.clear()
        return {}

    def _write(self, body: dict[str, Any]) -> Any:
        volume = self._backend(body["region"]).get_volume(body["volume_id"])
        volume.write(body["text"].encode(), changed_bytes=body.get("changed_bytes"))
        return {"digest": volume.content.digest}

    def _freeze(self, body: dict[str, Any]) -> Any:
        for volume_id in body["volume_ids"]:
            self._backend(body["region"]).get_volume(volume_id).freeze()
        return {}

    def _thaw(self, body: dict[str, Any]) -> Any:
        for volume_id in body["volume_ids"]:
            self._backend(body["region"]).get_volume(volume_id).thaw()
        return {}

    def _seed(self, body: dict[str, Any]) -> Any:
        snapshot = self._backend(body["region"]).seed_snapshot(
            started_at=_instant(body["start_time"]),
            volume_id=body["volume_id"],
            tags=body.get("tags"),
            description=body.get("description", ""),
            data=body.get("text", "").encode(),
            size=body.get("size"),
            kms_key_id=body.get("kms_key_id"),
            owner_id=body.get("owner_id"),
            is_public=body.get("public", False),
            error=body.get("error"),
        )
        return {"snapshot_id": snapshot.id}

    def _seed_image(self, body: dict[str, Any]) -> Any:
        image_id = seed_image(
            account_id=self.account_id,
            region=body["region"],
            name=body["name"],
            created_at=_instant(body["created_at"]),
            snapshot_ids=body["snapshot_ids"],
            tags=body.get("tags", {}),
            source_instance_id=body.get("source_instance_id"),
            description=body.get("description"),
        )
        return {"image_id": image_id}

    def _fail(self, body: dict[str, Any]) -> Any:
        message = body.get("message", "Internal error")
        self._backend(body["region"]).fail_snapshot(body["snapshot_id"], message=message)
        return {}

    def _serve(self, body: dict[str, Any]) -> Any:
        service = Service(**{key: value for key, value in body.items() if key not in {"region", "tags"}})
        services_of(account_id=self.account_id, region=body["region"]).offer(service, tags=body["tags"])
        return {}

    def _stick(self, body: dict[str, Any]) -> Any:
        self._backend(body["region"]).stick(body["instance_id"])
        return {}

    def _refuse_deletion(self, body: dict[str, Any]) -> Any:
        self._backend(body["region"]).refuse_to_delete(body["snapshot_id"], code=body["code"])
        return {}

    def _backdate_bin_rule(self, body: dict[str, Any]) -> Any:
        backend = self._backend(body["region"])
        recycle_bin.backdate_rule(backend, body["rule_id"], created_at=_instant(body["created_at"]))
        return {}

    def _lose(self, body: dict[str, Any]) -> Any:
        self.world.lost_region = body["region"] or ""
        return {}


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise BadRequest(f"{text} names no time zone.")
    return at


def _body(request: Request) -> dict[str, Any]:
    body = json.loads(request.get_data())
    if not isinstance(body, dict):
        raise BadRequest("The body is not a JSON object.")
    return body


def _reply(answer: Any, *, status: int = 200) -> Response:
    return Response(json.dumps(answer, default=str), status=status, content_type="application/json")
