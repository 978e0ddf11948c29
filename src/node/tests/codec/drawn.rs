//! Draws of the node's own types.

use std::sync::Arc;

use blixard_node::command::{Action, Command, HostSpec, Place, Placement};
use blixard_node::error::RequestError;
use blixard_node::hypervisor::{Run, VmReport};
use blixard_node::ids::{
    ClientId, ClusterId, Epoch, Generation, Incarnation, NodeId, RequestId, Revision, VmId,
};
use blixard_node::level::Level;
use blixard_node::message::{Assignment, Body, Heartbeat, HeartbeatAck, Message, Nonce, SnapshotChunk};
use blixard_node::request::{
    ClusterView, Consistency, MemberView, Read, Reply, Request, Response, Role, Transition, VmView, Write,
};
use blixard_node::spec::{
    FailoverPolicy, Labels, Phase, Port, Protocol, Resources, RestartPolicy, VmName, VmSpec, Wanted,
};
use blixard_node::time::{Duration, Time, WallMs};
use proptest::prelude::*;

use crate::raft_types;

fn node() -> impl Strategy<Value = NodeId> {
    any::<u64>().prop_map(NodeId)
}

fn generation() -> impl Strategy<Value = Generation> {
    any::<u64>().prop_map(Generation)
}

fn revision() -> impl Strategy<Value = Revision> {
    any::<u64>().prop_map(Revision)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch)
}

fn span() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration)
}

fn name() -> impl Strategy<Value = VmName> {
    "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?".prop_map(|text| VmName::new(text).expect("a name"))
}

fn text() -> impl Strategy<Value = String> {
    ".{0,12}"
}

fn labels() -> impl Strategy<Value = Labels> {
    prop::collection::btree_map(text(), text(), 0..3)
}

fn resources() -> impl Strategy<Value = Resources> {
    (any::<u32>(), any::<u64>()).prop_map(|(vcpus, memory_mib)| Resources { vcpus, memory_mib })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop::sample::select(vec![Wanted::Running, Wanted::Stopped])
}

fn phase() -> impl Strategy<Value = Phase> {
    prop::sample::select(vec![
        Phase::Stopped,
        Phase::Pending,
        Phase::Preparing,
        Phase::Starting,
        Phase::Running,
        Phase::Stopping,
        Phase::Failed,
        Phase::Exited,
        Phase::Lost,
    ])
}

fn spec() -> impl Strategy<Value = VmSpec> {
    let restart =
        prop::sample::select(vec![RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never]);
    let failover = prop::sample::select(vec![FailoverPolicy::Move, FailoverPolicy::Wait]);
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp]);
    let port = (any::<u16>(), any::<u16>(), protocol).prop_map(|(host, guest, protocol)| Port {
        host,
        guest,
        protocol,
    });
    let ports = prop::collection::vec(port, 0..3);
    (resources(), labels(), restart, failover, any::<bool>(), text(), text(), ports).prop_map(
        |(resources, requires, restart, failover, local_volume, hypervisor, payload, ports)| VmSpec {
            resources,
            requires,
            restart,
            failover,
            local_volume,
            hypervisor,
            payload,
            ports,
        },
    )
}

fn host() -> impl Strategy<Value = HostSpec> {
    (text(), resources(), labels()).prop_map(|(address, capacity, labels)| HostSpec {
        address,
        capacity,
        labels,
    })
}

fn run() -> impl Strategy<Value = Run> {
    (any::<u64>(), epoch()).prop_map(|(vm, epoch)| Run { vm: VmId(vm), epoch })
}

fn report() -> impl Strategy<Value = VmReport> {
    (run(), generation(), phase(), text(), any::<u32>(), prop::option::of(text())).prop_map(
        |(run, generation, phase, reason, restarts, artifact)| VmReport {
            run,
            generation,
            phase,
            reason,
            restarts,
            artifact,
        },
    )
}

fn level() -> impl Strategy<Value = Level> {
    (1..5u32).prop_map(Level)
}

fn members() -> impl Strategy<Value = Vec<(NodeId, String)>> {
    prop::collection::vec((node(), text()), 0..4)
}

fn request_id() -> impl Strategy<Value = RequestId> {
    (any::<u64>(), any::<u64>(), revision()).prop_map(|(client, sequence, born)| RequestId {
        client: ClientId(client),
        sequence,
        born,
    })
}

fn write() -> impl Strategy<Value = Write> {
    let at = || (name(), prop::option::of(generation()));
    prop_oneof![
        (name(), spec()).prop_map(|(name, spec)| Write::CreateVm { name, spec: Arc::new(spec) }),
        at().prop_map(|(name, generation)| Write::StartVm { name, generation }),
        at().prop_map(|(name, generation)| Write::StopVm { name, generation }),
        (at(), any::<bool>()).prop_map(|((name, generation), keep_volumes)| Write::DeleteVm {
            name,
            generation,
            keep_volumes
        }),
        (node(), any::<bool>(), prop_oneof![Just(String::new()), text()])
            .prop_map(|(node, cordoned, reason)| Write::CordonHost { node, cordoned, reason }),
        node().prop_map(|node| Write::RemoveHost { node }),
        (at(), spec()).prop_map(|((name, generation), spec)| Write::UpdateVm {
            name,
            generation,
            spec: Arc::new(spec)
        }),
    ]
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let read = prop_oneof![
        name().prop_map(|name| Read::GetVm { name }),
        name().prop_map(|name| Read::VmEvents { name }),
        Just(Read::ListVms),
        Just(Read::ClusterStatus)
    ];
    let consistency = prop::sample::select(vec![Consistency::Linearizable, Consistency::Stale]);
    prop_oneof![
        4 => (request_id(), write()).prop_map(|(id, write)| Request::Write { id, write }),
        2 => (read, consistency).prop_map(|(read, consistency)| Request::Read { read, consistency }),
        1 => prop::option::of(node()).prop_map(|to| Request::TransferLeader { to }),
    ]
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    let placement = (name(), any::<u64>(), epoch(), node()).prop_map(|(name, vm, epoch, to)| Placement {
        name,
        vm: VmId(vm),
        epoch,
        to,
    });
    let place =
        prop_oneof![Just(Place::Unneeded), node().prop_map(Place::On), members().prop_map(Place::Nowhere),];
    prop_oneof![
        (request_id(), write(), place).prop_map(|(id, write, place)| Action::Client { id, write, place }),
        (node(), any::<u64>(), host()).prop_map(|(node, incarnation, host)| Action::AddHost {
            node,
            incarnation: Incarnation(incarnation),
            host
        }),
        node().prop_map(|node| Action::DropHost { node }),
        node().prop_map(|node| Action::LoseHost { node }),
        node().prop_map(|node| Action::RegainHost { node }),
        level().prop_map(|to| Action::RaiseLevel { to }),
        prop::collection::vec(placement, 0..3).prop_map(|moves| Action::Assign { moves }),
        (node(), prop::collection::vec(report(), 0..3))
            .prop_map(|(node, reports)| Action::Report { node, reports }),
    ]
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    (any::<u64>(), action()).prop_map(|(at, action)| Command { at: WallMs(at), action })
}

fn transition() -> impl Strategy<Value = Transition> {
    (revision(), any::<u64>(), phase(), text(), prop::option::of(node())).prop_map(
        |(revision, at, phase, reason, host)| Transition { revision, at: WallMs(at), phase, reason, host },
    )
}

fn vm_view() -> impl Strategy<Value = VmView> {
    (
        (any::<u64>(), name(), spec(), generation(), wanted(), any::<bool>()),
        (prop::option::of((node(), epoch())), phase(), text(), any::<u64>(), any::<u32>(), generation()),
        (prop::option::of(text()), prop::option::of(node())),
    )
        .prop_map(
            |(
                (id, name, spec, generation, wanted, deleting),
                (assigned, phase, reason, since, restarts, seen),
                (artifact, last_host),
            )| {
                VmView {
                    id: VmId(id),
                    name,
                    spec: Arc::new(spec),
                    generation,
                    wanted,
                    deleting,
                    assigned,
                    phase,
                    reason,
                    since: WallMs(since),
                    restarts,
                    observed_generation: seen,
                    artifact,
                    last_host,
                }
            },
        )
}

fn member_view() -> impl Strategy<Value = MemberView> {
    let role = prop::sample::select(vec![Role::Leader, Role::Voter, Role::Learner, Role::Worker]);
    (
        (node(), any::<u64>(), text(), role, any::<[bool; 3]>()),
        (resources(), resources(), labels()),
        (prop::option::of(span()), prop::option::of(any::<u64>()), any::<u64>(), text(), level()),
    )
        .prop_map(
            |(
                (node, incarnation, address, role, [healthy, cordoned, leaving]),
                (capacity, used, labels),
                (last_contact, lag, vms, cordon_reason, level),
            )| MemberView {
                node,
                incarnation: Incarnation(incarnation),
                address,
                role,
                healthy,
                cordoned,
                leaving,
                capacity,
                used,
                labels,
                last_contact,
                lag,
                vms,
                cordon_reason,
                level,
            },
        )
}

fn cluster_view() -> impl Strategy<Value = ClusterView> {
    (
        any::<u64>(),
        node(),
        prop::option::of(node()),
        any::<u64>(),
        revision(),
        prop::collection::vec(member_view(), 0..3),
        level(),
    )
        .prop_map(|(cluster, answered_by, leader, term, revision, members, level)| ClusterView {
            cluster: ClusterId(cluster),
            answered_by,
            leader,
            term,
            revision,
            members,
            level,
        })
}

pub(crate) fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        (revision(), generation())
            .prop_map(|(revision, generation)| Response::Written { revision, generation }),
        (revision(), vm_view()).prop_map(|(revision, vm)| Response::Vm { revision, vm: Box::new(vm) }),
        (revision(), prop::collection::vec(vm_view(), 0..3))
            .prop_map(|(revision, vms)| Response::Vms { revision, vms }),
        cluster_view().prop_map(|view| Response::Cluster(Box::new(view))),
        node().prop_map(|to| Response::Transferring { to }),
        (revision(), prop::collection::vec(transition(), 0..3))
            .prop_map(|(revision, events)| Response::Events { revision, events }),
    ]
}

pub(crate) fn request_error() -> impl Strategy<Value = RequestError> {
    prop_oneof![
        name().prop_map(|name| RequestError::VmExists { name }),
        name().prop_map(|name| RequestError::VmUnknown { name }),
        (name(), generation(), generation())
            .prop_map(|(name, expected, actual)| RequestError::GenerationConflict { name, expected, actual }),
        name().prop_map(|name| RequestError::VmDeleting { name }),
        name().prop_map(|name| RequestError::VmNotStopped { name }),
        (name(), members()).prop_map(|(name, hosts)| RequestError::NoRoom { name, hosts }),
        text().prop_map(|reason| RequestError::BadSpec { reason }),
        any::<u64>().prop_map(|max| RequestError::TooManyVms { max }),
        node().prop_map(|node| RequestError::HostUnknown { node }),
        (node(), any::<u64>()).prop_map(|(node, vms)| RequestError::HostBusy { node, vms }),
        node().prop_map(|node| RequestError::LastVoter { node }),
        node().prop_map(|node| RequestError::IdTaken { node }),
        node().prop_map(|node| RequestError::NotAVoter { node }),
        revision().prop_map(|floor| RequestError::SessionExpired { floor }),
        any::<u64>().prop_map(|sequence| RequestError::IdReused { sequence }),
        Just(RequestError::NoLeader),
        text().prop_map(|reason| RequestError::Unknown { reason }),
        (text(), any::<u64>()).prop_map(|(what, max)| RequestError::Overloaded { what, max }),
        (text(), level(), level(), prop::collection::vec(node(), 0..3)).prop_map(
            |(what, needs, level, held_back_by)| RequestError::BelowLevel {
                what,
                needs,
                level,
                held_back_by
            }
        ),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![response().prop_map(Ok), request_error().prop_map(Err)]
}

fn nonce() -> impl Strategy<Value = Nonce> {
    any::<(u64, u64)>().prop_map(|(process, sequence)| Nonce { process, sequence })
}

pub(crate) fn assignment() -> impl Strategy<Value = Assignment> {
    (run(), name(), generation(), wanted(), spec(), prop::option::of(text()), any::<bool>()).prop_map(
        |(run, name, generation, wanted, spec, artifact, purge)| Assignment {
            run,
            name,
            generation,
            wanted,
            spec: Arc::new(spec),
            artifact,
            purge: purge && wanted == Wanted::Stopped,
        },
    )
}

fn heartbeat() -> impl Strategy<Value = Heartbeat> {
    (
        nonce(),
        any::<u64>(),
        revision(),
        prop::collection::vec(report(), 0..3),
        any::<bool>(),
        any::<u64>(),
        level(),
    )
        .prop_map(|(nonce, sent, set_revision, reports, urgent, answered, level)| Heartbeat {
            nonce,
            sent: Time(sent),
            set_revision,
            reports,
            urgent,
            answered,
            level,
        })
}

fn heartbeat_ack() -> impl Strategy<Value = HeartbeatAck> {
    let set = prop::option::of(prop::collection::vec(assignment(), 0..3));
    (nonce(), any::<u64>(), span(), revision(), set, members(), prop::option::of(level())).prop_map(
        |(nonce, sent, ttl, revision, set, members, level)| HeartbeatAck {
            nonce,
            sent: Time(sent),
            ttl,
            revision,
            set,
            members,
            level,
        },
    )
}

fn chunk() -> impl Strategy<Value = SnapshotChunk> {
    (raft_types::message(), any::<u64>(), any::<u64>(), any::<u32>(), raft_types::small_bytes()).prop_map(
        |(message, offset, len, crc, data)| SnapshotChunk {
            message: Box::new(message),
            offset,
            len,
            crc,
            data,
        },
    )
}

pub(crate) fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        4 => raft_types::message().prop_map(|message| Body::Raft(Box::new(message))),
        1 => chunk().prop_map(Body::SnapshotChunk),
        1 => any::<(u64, u64, u64)>()
            .prop_map(|(index, term, offset)| Body::SnapshotAck { index, term, offset }),
        2 => (any::<u64>(), request())
            .prop_map(|(ticket, request)| Body::Forward { ticket, request: Box::new(request) }),
        2 => (any::<u64>(), reply())
            .prop_map(|(ticket, reply)| Body::Forwarded { ticket, reply: Box::new(reply) }),
        1 => heartbeat().prop_map(Body::Heartbeat),
        1 => heartbeat_ack().prop_map(|ack| Body::HeartbeatAck(Box::new(ack))),
        1 => (prop::option::of(node()), members())
            .prop_map(|(leader, members)| Body::NotLeader { leader, members }),
        1 => Just(Body::Nudge),
        1 => host().prop_map(|host| Body::Join(Box::new(host))),
        1 => members().prop_map(|members| Body::Joined { members }),
        1 => (text(), prop::option::of(level())).prop_map(|(reason, below)| Body::Refused { reason, below }),
    ]
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    (any::<[u64; 3]>(), body()).prop_map(|([cluster, from, incarnation], body)| Message {
        cluster: ClusterId(cluster),
        from: NodeId(from),
        incarnation: Incarnation(incarnation),
        body,
    })
}
