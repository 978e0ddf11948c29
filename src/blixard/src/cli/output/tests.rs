//! What each format looks like.

use std::sync::Arc;

use blixard_node::error::RequestError;
use blixard_node::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, Revision, VmId};
use blixard_node::level::Level;
use blixard_node::request::{ClusterView, MemberView, Role, Transition, VmView};
use blixard_node::spec::{
    self, FailoverPolicy, Labels, Phase, Protocol, Resources, RestartPolicy, VmName, VmSpec, Wanted,
};
use blixard_node::time::{Duration, WallMs};
use expect_test::{Expect, expect};

use super::*;
use crate::cli::view::PortRow;

const NOW: u64 = 1_800_000_000_000;

fn output(format: Format) -> Output {
    Output { format, color: false, now_ms: NOW }
}

fn check(format: Format, shown: &impl Show, expected: Expect) {
    expected.assert_eq(&output(format).render(shown));
}

fn vm(name: &str, phase: Phase) -> VmView {
    let spec = VmSpec {
        resources: Resources { vcpus: 2, memory_mib: 2_048 },
        requires: Labels::from([("zone".into(), "a".into())]),
        restart: RestartPolicy::OnFailure,
        failover: FailoverPolicy::Move,
        local_volume: false,
        hypervisor: "process".into(),
        payload: "command = [\"sleep\", \"9\"]\n".into(),
        ports: Vec::new(),
    };
    VmView {
        id: VmId(12),
        name: VmName::new(name).unwrap(),
        spec: Arc::new(spec),
        generation: Generation(3),
        wanted: Wanted::Running,
        deleting: false,
        assigned: Some((NodeId(2), Epoch(4))),
        phase,
        reason: String::new(),
        since: WallMs(NOW - 150_000),
        restarts: 0,
        observed_generation: Generation(3),
        artifact: None,
        last_host: None,
    }
}

fn vms() -> VmList {
    let pending = VmView {
        assigned: None,
        reason: "no host has room".into(),
        observed_generation: Generation(2),
        artifact: None,
        last_host: None,
        restarts: 4,
        ..vm("a-database-with-a-name", Phase::Pending)
    };
    VmList::new(77, &[pending, vm("web", Phase::Running)])
}

fn ports() -> Vec<spec::Port> {
    let port = |host, guest, protocol| spec::Port { host, guest, protocol };
    vec![port(8_080, 80, Protocol::Tcp), port(53, 53, Protocol::Udp)]
}

fn events() -> Events {
    let event = |revision, phase, reason: &str, host| Transition {
        revision: Revision(revision),
        at: WallMs(NOW + revision),
        phase,
        reason: reason.into(),
        host,
    };
    let node = Some(NodeId(2));
    let events = [
        event(7, Phase::Pending, "assigned to n2", node),
        event(9, Phase::Running, "", node),
        event(30, Phase::Stopped, "", None),
    ];
    Events { revision: 31, events: events.iter().map(|event| Event::new("web", event)).collect() }
}

fn port_list() -> PortList {
    let row = PortRow {
        vm: "web".into(),
        phase: "running".into(),
        node: Some(2),
        address: Some("10.0.0.2".into()),
        host_port: 8_080,
        guest_port: 80,
        protocol: "tcp".into(),
        host_only: false,
    };
    let local = PortRow { address: Some("127.0.0.1".into()), host_only: true, ..row.clone() };
    let six = PortRow { address: Some("fd00::1".into()), ..row.clone() };
    let stopped = PortRow { node: None, address: None, phase: "stopped".into(), ..row.clone() };
    PortList { revision: 9, ports: vec![row, local, six, stopped] }
}

fn cluster() -> Cluster {
    let member = MemberView {
        node: NodeId(1),
        incarnation: Incarnation(0xfeed),
        address: "10.0.0.1:7001".into(),
        role: Role::Leader,
        healthy: true,
        cordoned: false,
        cordon_reason: String::new(),
        level: Level(3),
        leaving: false,
        capacity: Resources { vcpus: 8, memory_mib: 16_384 },
        used: Resources { vcpus: 2, memory_mib: 1_000 },
        labels: Labels::new(),
        last_contact: Some(Duration::from_millis(1_250)),
        lag: Some(0),
        vms: 1,
    };
    let lost = MemberView {
        node: NodeId(12),
        role: Role::Worker,
        healthy: false,
        cordoned: true,
        cordon_reason: "new disks".into(),
        level: Level(2),
        last_contact: None,
        lag: None,
        ..member.clone()
    };
    Cluster::from(&ClusterView {
        cluster: ClusterId(0xabc),
        answered_by: NodeId(1),
        leader: Some(NodeId(1)),
        term: 7,
        revision: Revision(1_234),
        level: Level(2),
        members: vec![member, lost],
    })
}

#[test]
fn tables() {
    check(
        Format::Table,
        &vms(),
        expect![[r#"
         NAME                    PHASE    WANTED   NODE  VCPUS  MEMORY  HYPERVISOR  RESTARTS  SINCE  REASON
         a-database-with-a-name  pending  running  -     2      2GiB    process     4         2m     no host has room
         web                     running  running  2     2      2GiB    process     0         2m
    "#]],
    );
    check(
        Format::Table,
        &VmList::new(1, &[]),
        expect![[r#"
        There are no VMs.
    "#]],
    );
    check(
        Format::Table,
        &VmDetail(Vm::from(&vm("web", Phase::Running))),
        expect![[r#"
        web: running on node 2 for 2m
          needs       2 vCPUs, 2GiB
          hypervisor  process
          restart     on-failure
          failover    move
          requires    zone=a
          epoch       4
          generation  3
    "#]],
    );
    let stopped = VmView {
        assigned: None,
        last_host: Some(NodeId(2)),
        artifact: Some("/nix/store/abc-microvm-web".into()),
        spec: Arc::new(VmSpec { ports: ports(), ..VmSpec::clone(&vm("web", Phase::Stopped).spec) }),
        wanted: Wanted::Stopped,
        ..vm("web", Phase::Stopped)
    };
    check(
        Format::Table,
        &VmDetail(Vm::from(&stopped)),
        expect![[r#"
        web: stopped for 2m
          last host   node 2
          needs       2 vCPUs, 2GiB
          hypervisor  process
          restart     on-failure
          failover    move
          requires    zone=a
          port        8080:80/tcp
          port        53:53/udp
          artifact    /nix/store/abc-microvm-web
          generation  3
    "#]],
    );
    check(
        Format::Table,
        &events(),
        expect![[r#"
        2027-01-15T08:00:00.007Z  web: pending on node 2: assigned to n2
        2027-01-15T08:00:00.009Z  web: running on node 2
        2027-01-15T08:00:00.030Z  web: stopped
    "#]],
    );
    check(
        Format::Table,
        &Events { revision: 1, events: Vec::new() },
        expect![[r#"
        Nothing has happened yet.
    "#]],
    );
    check(
        Format::Table,
        &port_list(),
        expect![[r#"
            VM   ADDRESS             GUEST  NODE  PHASE    REACHED
            web  10.0.0.2:8080/tcp   80     2     running  wherever node 2 is
            web  127.0.0.1:8080/tcp  80     2     running  from node 2 alone
            web  [fd00::1]:8080/tcp  80     2     running  wherever node 2 is
            web  8080/tcp            80     -     stopped  nowhere: no host has the VM
        "#]],
    );
    check(
        Format::Table,
        &PortList { revision: 1, ports: Vec::new() },
        expect![[r#"
        There are no ports.
    "#]],
    );
    check(
        Format::Table,
        &cluster(),
        expect![[r#"
            cluster 0000000000000abc  term 7  leader node 1  revision 1234  level 2  answered by node 1

            NODE  ROLE    HEALTH                      CONTACT   LAG  VMS  VCPUS  MEMORY         ADDRESS
            1     leader  healthy, speaks level 3     1.2s ago  0    1    2/8    1000MiB/16GiB  10.0.0.1:7001
            12    worker  lost, cordoned (new disks)  -         -    1    2/8    1000MiB/16GiB  10.0.0.1:7001
        "#]],
    );
    let change = Change { name: "web".into(), revision: 9, generation: 2, deleted: false };
    check(
        Format::Table,
        &change,
        expect![[r#"
        web: taken, generation 2
    "#]],
    );
    check(
        Format::Table,
        &Change { deleted: true, ..change },
        expect![[r#"
        web: deleted
    "#]],
    );
}

#[test]
fn json_and_yaml() {
    check(
        Format::Json,
        &vms(),
        expect![[r#"
            {
              "revision": 77,
              "vms": [
                {
                  "name": "a-database-with-a-name",
                  "id": 12,
                  "phase": "pending",
                  "reason": "no host has room",
                  "wanted": "running",
                  "deleting": false,
                  "node": null,
                  "epoch": null,
                  "last_node": null,
                  "generation": 3,
                  "observed_generation": 2,
                  "restarts": 4,
                  "since": "2027-01-15T07:57:30.000Z",
                  "artifact": null,
                  "spec": {
                    "vcpus": 2,
                    "memory_mib": 2048,
                    "hypervisor": "process",
                    "restart": "on-failure",
                    "failover": "move",
                    "local_volume": false,
                    "requires": {
                      "zone": "a"
                    },
                    "ports": [],
                    "payload": "command = [\"sleep\", \"9\"]\n"
                  }
                },
                {
                  "name": "web",
                  "id": 12,
                  "phase": "running",
                  "reason": "",
                  "wanted": "running",
                  "deleting": false,
                  "node": 2,
                  "epoch": 4,
                  "last_node": null,
                  "generation": 3,
                  "observed_generation": 3,
                  "restarts": 0,
                  "since": "2027-01-15T07:57:30.000Z",
                  "artifact": null,
                  "spec": {
                    "vcpus": 2,
                    "memory_mib": 2048,
                    "hypervisor": "process",
                    "restart": "on-failure",
                    "failover": "move",
                    "local_volume": false,
                    "requires": {
                      "zone": "a"
                    },
                    "ports": [],
                    "payload": "command = [\"sleep\", \"9\"]\n"
                  }
                }
              ]
            }
        "#]],
    );
    check(
        Format::Yaml,
        &VmDetail(Vm::from(&vm("web", Phase::Running))),
        expect![[r#"
            name: web
            id: 12
            phase: running
            reason: ""
            wanted: running
            deleting: false
            node: 2
            epoch: 4
            last_node: null
            generation: 3
            observed_generation: 3
            restarts: 0
            since: "2027-01-15T07:57:30.000Z"
            artifact: null
            spec:
              vcpus: 2
              memory_mib: 2048
              hypervisor: process
              restart: on-failure
              failover: move
              local_volume: false
              requires:
                zone: a
              ports: []
              payload: |
                command = ["sleep", "9"]
        "#]],
    );
    check(
        Format::Json,
        &cluster(),
        expect![[r#"
            {
              "cluster": "0000000000000abc",
              "term": 7,
              "leader": 1,
              "answered_by": 1,
              "revision": 1234,
              "level": 2,
              "members": [
                {
                  "node": 1,
                  "role": "leader",
                  "healthy": true,
                  "cordoned": false,
                  "cordon_reason": "",
                  "leaving": false,
                  "level": 3,
                  "address": "10.0.0.1:7001",
                  "last_contact_ms": 1250,
                  "lag": 0,
                  "vms": 1,
                  "vcpus": 8,
                  "vcpus_used": 2,
                  "memory_mib": 16384,
                  "memory_mib_used": 1000,
                  "labels": {},
                  "incarnation": "000000000000feed"
                },
                {
                  "node": 12,
                  "role": "worker",
                  "healthy": false,
                  "cordoned": true,
                  "cordon_reason": "new disks",
                  "leaving": false,
                  "level": 2,
                  "address": "10.0.0.1:7001",
                  "last_contact_ms": null,
                  "lag": null,
                  "vms": 1,
                  "vcpus": 8,
                  "vcpus_used": 2,
                  "memory_mib": 16384,
                  "memory_mib_used": 1000,
                  "labels": {},
                  "incarnation": "000000000000feed"
                }
              ]
            }
        "#]],
    );
    check(
        Format::Yaml,
        &cluster(),
        expect![[r#"
            cluster: 0000000000000abc
            term: 7
            leader: 1
            answered_by: 1
            revision: 1234
            level: 2
            members:
            - node: 1
              role: leader
              healthy: true
              cordoned: false
              cordon_reason: ""
              leaving: false
              level: 3
              address: 10.0.0.1:7001
              last_contact_ms: 1250
              lag: 0
              vms: 1
              vcpus: 8
              vcpus_used: 2
              memory_mib: 16384
              memory_mib_used: 1000
              labels: {}
              incarnation: 000000000000feed
            - node: 12
              role: worker
              healthy: false
              cordoned: true
              cordon_reason: new disks
              leaving: false
              level: 2
              address: 10.0.0.1:7001
              last_contact_ms: null
              lag: null
              vms: 1
              vcpus: 8
              vcpus_used: 2
              memory_mib: 16384
              memory_mib_used: 1000
              labels: {}
              incarnation: 000000000000feed
        "#]],
    );
}

#[test]
fn events_and_ports_as_json() {
    let mut first = events();
    first.events.truncate(1);
    check(
        Format::Json,
        &first,
        expect![[r#"
        {
          "revision": 31,
          "events": [
            {
              "vm": "web",
              "revision": 7,
              "at": "2027-01-15T08:00:00.007Z",
              "phase": "pending",
              "reason": "assigned to n2",
              "node": 2
            }
          ]
        }
    "#]],
    );
    let mut ports = port_list();
    ports.ports.truncate(1);
    check(
        Format::Json,
        &ports,
        expect![[r#"
        {
          "revision": 9,
          "ports": [
            {
              "vm": "web",
              "phase": "running",
              "node": 2,
              "address": "10.0.0.2",
              "host_port": 8080,
              "guest_port": 80,
              "protocol": "tcp",
              "host_only": false
            }
          ]
        }
    "#]],
    );
}

#[test]
fn yaml_keeps_texts_that_look_like_numbers() {
    let digits = Cluster { cluster: "0000000000012e45".into(), ..cluster() };
    let text = yaml(&digits);
    assert!(text.starts_with("cluster: \"0000000000012e45\"\n"), "{text}");
}

#[test]
fn colors_are_for_terminals_alone() {
    assert!(!output(Format::Table).render(&vms()).contains('\u{1b}'));
    let colored = Output { color: true, ..output(Format::Table) };
    assert!(colored.render(&vms()).contains('\u{1b}'));
}

#[test]
fn failures() {
    let name = VmName::new("web").unwrap();
    let error = CliError::from(RequestError::VmUnknown { name });
    let render = |format: Format| output(format).render_failure(&error, Some("web"));
    expect![[r#"
        error[BLX-VM-002]: there is no VM web; `blixard vm list` shows those there are
    "#]]
    .assert_eq(&render(Format::Table));
    expect![[r#"
        {
          "error": {
            "code": "BLX-VM-002",
            "message": "there is no VM web; `blixard vm list` shows those there are",
            "name": "web",
            "exit_code": 3
          }
        }
    "#]]
    .assert_eq(&render(Format::Json));
    expect![[r#"
        error:
          code: BLX-VM-002
          message: there is no VM web; `blixard vm list` shows those there are
          name: web
          exit_code: 3
    "#]]
    .assert_eq(&render(Format::Yaml));
}

#[test]
fn ages_and_sizes() {
    let ages: Vec<String> = [0, 119_999, 120_000, 7_200_000, 172_800_000].map(age).into();
    assert_eq!(ages, ["0s", "119s", "2m", "2h", "2d"]);
    assert_eq!([memory(0), memory(1_536), memory(2_048)], ["0MiB", "1536MiB", "2GiB"]);
    assert_eq!([span(999), span(1_999)], ["999ms", "1.9s"]);
}
