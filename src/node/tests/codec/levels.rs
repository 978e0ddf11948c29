//! What programs of the first feature level send and store is understood, and what a newer one says to them is what they understand. The
//! structs here are the layouts as they stood at the first level.

use std::collections::BTreeMap;

use blixard_node::codec::{
    decode_command, decode_message, decode_snapshot, decode_state, encode_command, encode_message,
    encode_snapshot, encode_state,
};
use blixard_node::command::{Action, Command, HostSpec, Place};
use blixard_node::config::Settings;
use blixard_node::ids::{ClientId, ClusterId, Incarnation, NodeId, RequestId, Revision};
use blixard_node::level::Level;
use blixard_node::message::{Body, Heartbeat, HeartbeatAck, Message, Nonce};
use blixard_node::request::Write;
use blixard_node::spec::Resources;
use blixard_node::state::{Host, State};
use blixard_node::stored::{Membership, Snapshot};
use blixard_node::time::{Duration, Time, WallMs};
use prost::Message as _;

const NEW: Level = Level(2);

#[derive(Clone, PartialEq, prost::Message)]
struct OldHostSpec {
    #[prost(string, tag = "1")]
    address: String,
    #[prost(message, optional, tag = "2")]
    capacity: Option<OldResources>,
    #[prost(btree_map = "string, string", tag = "3")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OldResources {
    #[prost(uint32, tag = "1")]
    vcpus: u32,
    #[prost(uint64, tag = "2")]
    memory_mib: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OldHeartbeat {
    #[prost(message, optional, tag = "1")]
    nonce: Option<OldNonce>,
    #[prost(uint64, tag = "2")]
    sent: u64,
    #[prost(uint64, tag = "3")]
    set_revision: u64,
    #[prost(bool, tag = "5")]
    urgent: bool,
    #[prost(uint64, tag = "6")]
    answered: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OldNonce {
    #[prost(uint64, tag = "1")]
    process: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum OldBody {
    #[prost(message, tag = "9")]
    Heartbeat(OldHeartbeat),
    #[prost(message, tag = "13")]
    Join(OldHostSpec),
    #[prost(string, tag = "15")]
    Refused(String),
}

#[derive(Clone, PartialEq, prost::Message)]
struct OldMessage {
    #[prost(fixed64, tag = "1")]
    cluster: u64,
    #[prost(uint64, tag = "2")]
    from: u64,
    #[prost(fixed64, tag = "3")]
    incarnation: u64,
    #[prost(oneof = "OldBody", tags = "9, 13, 15")]
    body: Option<OldBody>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OldHost {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(message, optional, tag = "2")]
    spec: Option<OldHostSpec>,
    #[prost(uint64, tag = "3")]
    incarnation: u64,
    #[prost(bool, tag = "4")]
    cordoned: bool,
}

/// The state without its VMs and sessions.
#[derive(Clone, PartialEq, prost::Message)]
struct OldState {
    #[prost(fixed64, tag = "1")]
    cluster: u64,
    #[prost(message, optional, tag = "2")]
    settings: Option<OldSettings>,
    #[prost(uint64, tag = "3")]
    revision: u64,
    #[prost(message, repeated, tag = "4")]
    hosts: Vec<OldHost>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OldSettings {
    #[prost(uint64, tag = "1")]
    lease_ttl_ns: u64,
    #[prost(uint32, tag = "3")]
    clock_drift_ppm: u32,
    #[prost(uint64, tag = "4")]
    kill_grace_ns: u64,
    #[prost(uint64, tag = "6")]
    voters_max: u64,
    #[prost(uint64, tag = "7")]
    sessions_max: u64,
    #[prost(uint64, tag = "8")]
    answers_max: u64,
    #[prost(uint64, tag = "9")]
    vms_max: u64,
}

/// Of a command, the kinds that stood at the first level.
#[derive(Clone, PartialEq, prost::Message)]
struct OldCommand {
    #[prost(uint64, tag = "1")]
    at: u64,
    #[prost(oneof = "OldAction", tags = "2, 8")]
    action: Option<OldAction>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum OldAction {
    #[prost(message, tag = "2")]
    Client(OldClient),
    #[prost(uint64, tag = "8")]
    DropHost(u64),
}

#[derive(Clone, PartialEq, prost::Message)]
struct OldClient {
    #[prost(message, optional, tag = "2")]
    write: Option<OldWrite>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OldWrite {
    #[prost(oneof = "OldWriteKind", tags = "5")]
    kind: Option<OldWriteKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum OldWriteKind {
    #[prost(message, tag = "5")]
    Cordon(OldCordon),
}

#[derive(Clone, PartialEq, prost::Message)]
struct OldCordon {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(bool, tag = "2")]
    cordoned: bool,
}

fn old_spec() -> OldHostSpec {
    let capacity = Some(OldResources { vcpus: 4, memory_mib: 512 });
    OldHostSpec { address: "h:1".into(), capacity, labels: [("disk".into(), "fast".into())].into() }
}

fn spec() -> HostSpec {
    let capacity = Resources { vcpus: 4, memory_mib: 512 };
    HostSpec { address: "h:1".into(), capacity, labels: [("disk".into(), "fast".into())].into() }
}

fn old(body: OldBody) -> OldMessage {
    OldMessage { cluster: 7, from: 2, incarnation: 9, body: Some(body) }
}

fn new(body: Body) -> Message {
    Message { cluster: ClusterId(7), from: NodeId(2), incarnation: Incarnation(9), body }
}

fn heartbeat(level: Level) -> Heartbeat {
    Heartbeat {
        nonce: Nonce { process: 3, sequence: 4 },
        sent: Time(5),
        set_revision: Revision(6),
        answered: 2,
        reports: Vec::new(),
        urgent: true,
        level,
    }
}

fn old_heartbeat() -> OldHeartbeat {
    let nonce = Some(OldNonce { process: 3, sequence: 4 });
    OldHeartbeat { nonce, sent: 5, set_revision: 6, urgent: true, answered: 2 }
}

/// The same bytes, both ways.
fn same(old: &impl prost::Message, new: Body) {
    let new = self::new(new);
    assert_eq!(old.encode_to_vec(), encode_message(&new), "{new:?}");
    assert_eq!(decode_message(&old.encode_to_vec()), Ok(new));
}

#[test]
fn at_the_first_level_messages_have_the_bytes_of_programs_that_know_none() {
    same(&old(OldBody::Join(old_spec())), Body::Join(Box::new(spec())));
    same(&old(OldBody::Heartbeat(old_heartbeat())), Body::Heartbeat(heartbeat(Level::FIRST)));
    same(&old(OldBody::Refused("no".into())), Body::Refused { reason: "no".into(), below: None });
}

#[test]
fn what_newer_programs_add_is_left_aside_by_older_ones() {
    let read = |body| OldMessage::decode(&encode_message(&new(body))[..]).map(|message| message.body);
    let body = Some(OldBody::Heartbeat(old_heartbeat()));
    assert_eq!(read(Body::Heartbeat(heartbeat(NEW))), Ok(body));
    let body = Body::Refused { reason: "too old".into(), below: Some(NEW) };
    assert_eq!(read(body), Ok(Some(OldBody::Refused("too old".into()))));
    // And a label is kept by those that do not know what it means.
    let Ok(Some(OldBody::Join(host))) = read(Body::Join(Box::new(spec().announcing(NEW)))) else {
        panic!("a join")
    };
    assert_eq!(host.labels.get(Level::LABEL).map(String::as_str), Some("2"));
}

#[test]
fn an_acknowledgement_tells_whether_its_leader_knows_levels() {
    let ack = |level| HeartbeatAck {
        nonce: Nonce { process: 3, sequence: 4 },
        sent: Time(5),
        ttl: Duration::from_secs(8),
        revision: Revision(6),
        set: None,
        members: Vec::new(),
        level,
    };
    let bytes = |level| encode_message(&new(Body::HeartbeatAck(Box::new(ack(level)))));
    assert_eq!(bytes(Some(NEW)).len(), bytes(None).len() + 2, "one byte for the field, one for the level");
    for level in [None, Some(Level::FIRST), Some(NEW)] {
        assert_eq!(decode_message(&bytes(level)), Ok(new(Body::HeartbeatAck(Box::new(ack(level))))));
    }
}

#[test]
fn a_snapshot_of_the_first_level_comes_back_and_is_written_as_it_was() {
    let settings = OldSettings {
        lease_ttl_ns: 8_000_000_000,
        clock_drift_ppm: 1_000,
        kill_grace_ns: 2_000_000_000,
        voters_max: 5,
        sessions_max: 4_096,
        answers_max: 16,
        vms_max: 100_000,
    };
    let host = OldHost { node: 1, spec: Some(old_spec()), incarnation: 9, cordoned: true };
    let old = OldState { cluster: 7, settings: Some(settings), revision: 12, hosts: vec![host] };
    let state = decode_state(&old.encode_to_vec()).expect("it is read");
    assert_eq!((state.level, state.hosts[&NodeId(1)].spec.level()), (Level::FIRST, Level::FIRST));
    assert_eq!(encode_state(&state), old.encode_to_vec());
}

#[test]
fn a_snapshot_keeps_the_level_and_why_a_host_is_cordoned() {
    let mut state = State::new(ClusterId(7), Settings::default(), Revision(3));
    state.level = NEW;
    let mut host = Host::new(spec().announcing(NEW), Incarnation(9), Revision(1));
    (host.cordoned, host.cordon_reason) = (true, "new disks".into());
    let state = State::restore(state, [(NodeId(1), host)], [], []);
    let back = decode_state(&encode_state(&state)).expect("it is read");
    assert_eq!((back.level, back.hash()), (NEW, state.hash()));
    assert_eq!(back.hosts[&NodeId(1)].cordon_reason, "new disks");
}

#[test]
fn a_disk_says_to_programs_that_know_no_levels_that_a_newer_one_wrote_it() {
    let snapshot = |level| {
        let mut state = State::new(ClusterId(7), Settings::default(), Revision(3));
        state.level = level;
        Snapshot { index: 3, term: 1, membership: Membership::default(), data: encode_state(&state) }
    };
    for (level, version) in [(Level::FIRST, 1), (NEW, 2)] {
        let record = encode_snapshot(&snapshot(level));
        assert_eq!(record[4], version, "the byte behind the checksum, which they read up to 1");
        assert_eq!(decode_snapshot(record), Ok(snapshot(level)));
    }
}

#[test]
fn older_programs_carry_out_no_half_of_a_command() {
    let cordon = |reason: &str| Command {
        at: WallMs(1),
        action: Action::Client {
            id: RequestId { client: ClientId(1), sequence: 1, born: Revision(0) },
            write: Write::CordonHost { node: NodeId(3), cordoned: true, reason: reason.into() },
            place: Place::Unneeded,
        },
    };
    let read = |command: &Command| {
        assert_eq!(decode_command(&encode_command(command)).as_ref(), Ok(command));
        match OldCommand::decode(&encode_command(command)[..]).expect("protobuf").action {
            Some(OldAction::Client(client)) => client.write.and_then(|write| write.kind),
            _ => None,
        }
    };
    let known = Some(OldWriteKind::Cordon(OldCordon { node: 3, cordoned: true }));
    assert_eq!(read(&cordon("")), known);
    assert_eq!(
        read(&cordon("new disks")),
        None,
        "a kind that is not known is an error, not a cordon without a reason"
    );
    assert_eq!(read(&Command { at: WallMs(1), action: Action::RaiseLevel { to: NEW } }), None);
}
