//! What each format looks like.

use std::sync::Arc;

use blixard_node::error::RequestError;
use blixard_node::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, Revision, VmId};
use blixard_node::request::{ClusterView, MemberView, Role, VmView};
use blixard_node::spec::{FailoverPolicy, Labels, Phase, Resources, RestartPolicy, VmName, VmSpec, Wanted};
use blixard_node::time::{Duration, WallMs};
use expect_test::{Expect, expect};

use super::*;

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

fn cluster() -> Cluster {
    let member = MemberView {
        node: NodeId(1),
        incarnation: Incarnation(0xfeed),
        address: "10.0.0.1:7001".into(),
        role: Role::Leader,
        healthy: true,
        cordoned: false,
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
    check(
        Format::Table,
        &cluster(),
        expect![[r#"
            cluster 0000000000000abc  term 7  leader node 1  revision 1234  answered by node 1

            NODE  ROLE    HEALTH          CONTACT   LAG  VMS  VCPUS  MEMORY         ADDRESS
            1     leader  healthy         1.2s ago  0    1    2/8    1000MiB/16GiB  10.0.0.1:7001
            12    worker  lost, cordoned  -         -    1    2/8    1000MiB/16GiB  10.0.0.1:7001
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
              "generation": 3,
              "observed_generation": 2,
              "restarts": 4,
              "since": "2027-01-15T07:57:30.000Z",
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
              "generation": 3,
              "observed_generation": 3,
              "restarts": 0,
              "since": "2027-01-15T07:57:30.000Z",
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
        generation: 3
        observed_generation: 3
        restarts: 0
        since: "2027-01-15T07:57:30.000Z"
        spec:
          vcpus: 2
          memory_mib: 2048
          hypervisor: process
          restart: on-failure
          failover: move
          local_volume: false
          requires:
            zone: a
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
          "members": [
            {
              "node": 1,
              "role": "leader",
              "healthy": true,
              "cordoned": false,
              "leaving": false,
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
              "leaving": false,
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
        members:
        - node: 1
          role: leader
          healthy: true
          cordoned: false
          leaving: false
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
          leaving: false
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
