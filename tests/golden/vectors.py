"""One example of every message that travels, for the vectors in `messages.json`."""

from __future__ import annotations

from lattice.model.host import (
    Capacity,
    Device,
    HeldDevice,
    Inventory,
    Load,
    ReplicaReport,
    Report,
    Revision,
    Taint,
)
from lattice.model.ids import DeploymentName, HostId, ReplicaId
from lattice.wire import durable as d
from lattice.wire import http as h
from lattice.wire import messages as m
from lattice.wire import requests as r

EXAMPLES: dict[str, object] = {
    "invocation": m.Invocation(
        op="docs:search/query@0.1.0#search", args=["event loop", 3, None, b"\x00\xff"], id="c1",
        deadline_ms=5000, key="k", attempt=2, hops=1, type="0011223344556677",
        trace="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", caller="ask",
        chain=["ask"],
    ),
    "call-reply": m.CallReply(
        ok=[["ok", {"title": "x", "score": 1.5}]], host="UHOST", generation=2,
        legs=[m.Leg(deployment="d", op="a:b/c#f", route="local", host="UHOST", took_us=12)],
    ),
    "call-error": m.CallReply(
        err={"kind": "trap", "message": "unreachable", "retryable": False, "details": {}},
        host="UHOST", generation=2,
    ),
    "stored-job": d.StoredJob(
        op="a:b/c#f", args=[1, b"\x00", None], timeout_ms=5000, attempts_max=3, pause_ms=10,
        pause_max_ms=50, type="0011223344556677", caller="ask", chain=["ask"], hops=1,
        trace="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", submitted_s=1.5,
        due_s=2.5, schedule="@every 1m", replaces=7, made=2,
    ),
    "outcome": d.Outcome(
        state="done", ok=[["ok", 1]], op="a:b/c#f", host="UHOST", attempts=2, submitted_s=1.5,
        ended_s=3.5,
    ),
    "outcome-dead": d.Outcome(
        state="dead", err={"kind": "trap", "message": "unreachable"}, op="#f", host="UHOST",
        attempts=3, submitted_s=1.5, ended_s=3.5, job=d.StoredJob(op="#f", args=[1]),
    ),
    "heartbeat-ack": m.HeartbeatAck(
        sequence=7, required=Revision("inc", 9), lease_ms=6000, heartbeat_ms=500,
        is_inventory_wanted=True, is_base_unknown=True,
    ),
    "target": m.Target(
        epoch=2, host="UHOST", incarnation="inc", needs=["replicas@1"],
        items=[
            m.TargetItem(
                deployment="d", generation=3, count=2, assignment=11, slots=2, priority=100,
                grants=[
                    m.DeviceGrant(ordinal=1, device="gpu0", share_milli=500, memory_bytes=1 << 30)
                ],
            )
        ],
    ),
    "restore": m.Restore(is_running=True, floor=10_003),
    "target-elsewhere": m.Target(
        epoch=2, host="UHOST", incarnation="inc", needs=["large-targets@1"], body="sha256:00",
    ),
    "deployment-status": m.DeploymentStatus(
        name="d", good_generation=2, generation=3, completed=1, failed=2,
        counted=["d/3/UHOST/11.0"], verdict="failed", reason="no such image",
    ),
    "deployment-route": m.DeploymentRoute(
        name="d", wakes=True,
        generations=[m.RouteGeneration(generation=3, weight=10, hosts=["UHOST"])],
    ),
    "lease": m.Lease(holder="s/1", ttl_ms=4000, renewals=3),
    "term": m.Term(holder="s/1", incarnation="inc"),
    "deployment-record": m.DeploymentRecord(
        name="d", generation=3, manifest={"lattice": "v1", "name": "d"},
        interfaces=["wasi:logging/logging@0.1.0-draft"],
        exposed={"a:b/c@0.1.0": {"f": "0011223344556677"}}, submitted_by="me", since=12,
        given_up=[1, 2], is_paused=True, reverted=4, reason="made no progress for 2m",
    ),
    "event": m.Event(
        id="b.1", kind="host-joined", source="/lattice/l/host/UHOST", entity="UHOST",
        time_s=1790000000.5, data={"name": "h"}, run="b", sequence=1, position=7,
    ),
    "report": Report(
        host=HostId("UHOST"), boot="b", sequence=4, adopted=Revision("inc", 9),
        replicas=(
            ReplicaReport(
                replica=ReplicaId("d/3/UHOST/11.0"), deployment=DeploymentName("d"),
                generation=3, state="failed", reason="no such image", restarts=1, calls=5,
                in_flight=1, waiting=2, errors=3, busy_ms=40,
            ),
        ),
        load=Load(cpu_milli=1, memory_bytes=2, calls_in_flight=3),
        held=(
            HeldDevice(
                replica=ReplicaId("d/3/UHOST/11.0"), device="gpu0", share_milli=250,
                memory_bytes=1 << 30,
            ),
        ),
    ),
    "report-of-changes": Report(
        host=HostId("UHOST"), boot="b", sequence=5, adopted=Revision("inc", 9),
        base="00ff", digest="01ff", gone=(ReplicaId("d/3/UHOST/11.0"),), is_partial=True,
    ),
    "inventory": Inventory(
        host=HostId("UHOST"), boot="b", name="h", labels={"zone": "eu"},
        interfaces=("wasi:logging/logging@0.1.0-draft",),
        capacity=Capacity(cpu_milli=2000, memory_bytes=1 << 30, slots=1000),
        features=("replicas@1",), version="0.1.0", curve_key="X", is_cordoned=False,
        http=("http://127.0.0.1:8000",), is_draining=True,
        taints=(Taint(key="dedicated", value="search", evicts=True),),
        devices=(
            Device(
                id="gpu0", vendor="nvidia", model="a100", memory_bytes=1 << 33,
                attributes={"compute": 80}, features=("shader-f16",),
            ),
        ),
    ),
    "put-deployment": r.PutDeployment(
        manifest={"lattice": "v1", "name": "d"}, expect=17, submitted_by="me"
    ),
    "one-deployment": r.OneDeployment(name="d"),
    "restore-step": r.RestoreStep(
        step="put", is_replacing=True, floor=3, entries={"desired.d": b"x"}, deployments=["d"]
    ),
    "delete-deployment": r.DeleteDeployment(name="d", expect=17),
    "roll-back": r.RollBack(
        name="d", generation=2, expect=17, submitted_by="ann", reason="slow"
    ),
    "set-replicas": r.SetReplicas(name="d", replicas=5, expect=17, submitted_by="ann"),
    "set-paused": r.SetPaused(name="d", expect=17, submitted_by="ann"),
    "listing": r.Listing(after="d", limit=100),
    "replica-listing": r.ReplicaListing(deployment="d", after="placed d/3/UHOST/11.0", limit=100),
    "one-host": r.OneHost(name="d", host="UHOST"),
    "proposal": r.Proposal(manifest={"lattice": "v1", "name": "d"}, interfaces=["a:b/c@0.1.0"]),
    "rehearsal": r.Rehearsal(proposals=[r.Proposal(manifest={"lattice": "v1", "name": "d"})]),
    "label-change": r.LabelChange(set={"zone": "eu"}, remove=["rack"]),
    "taint-change": r.TaintChange(
        set=[Taint(key="gpu"), Taint(key="team", value="search", evicts=True)], remove=["old"]
    ),
    "stop-request": r.StopRequest(drain_s=60.0),
    "log-request": r.LogRequest(deployment="d", lines=10),
    "log-line": r.LogLine(
        time_s=1790000000.5, level="warn", deployment="d", host="UHOST", line="slow"
    ),
    "http-request": h.HttpRequest(
        method="POST", scheme="https", authority="a.example:8443", target="/a?b=%20",
        headers=[b"x-a", b"\xff", b"x-a", b""], body=b"\x00body", trailers=[b"t", b"1"],
        peer="192.0.2.1", lane="lat.l.at.UNEAR.http.p1.ab", window=524288, deadline_ms=5000,
        hops=1, trace="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", caller="ask",
        chain=["ask"],
    ),
    "http-reply": h.HttpReply(
        status=200, headers=[b"content-type", b"text/plain"], body=b"hello", host="UFAR",
        generation=2,
        legs=[m.Leg(deployment="d", op="a:b/c#f", route="local", host="UFAR", took_us=12)],
    ),
    "http-reply-lane": h.HttpReply(
        status=200, headers=[b"x", b"1"], lane="lat.l.at.UFAR.http.p2.cd", window=524288,
        host="UFAR", generation=2,
    ),
    "http-frame-data": h.HttpFrame(kind="data", sequence=3, data=b"\x00\xff"),
    "http-frame-end": h.HttpFrame(kind="end", sequence=4, headers=[b"t", b"1"]),
    "http-frame-head": h.HttpFrame(kind="head", sequence=0, status=200, headers=[b"x", b"1"]),
    "http-frame-beat": h.HttpFrame(
        kind="beat", sequence=4, granted=524288, lane="lat.l.at.UFAR.http.p2.cd"
    ),
    "http-frame-reset": h.HttpFrame(
        kind="reset",
        err={"kind": "trap", "message": "unreachable", "retryable": False, "details": {}},
    ),
}  # fmt: skip
