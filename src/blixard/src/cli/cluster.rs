//! `blixard cluster …`

use std::time::Duration;

use blixard_node::error::RequestError;
use blixard_node::ids::NodeId;
use blixard_node::request::{ClusterView, MemberView, Role};
use blixard_proto::v1;
use blixard_proto::v1::cluster_service_client::ClusterServiceClient;
use tokio::time::sleep;

use super::args::{ClusterCommand, Host};
use super::client::Client;
use super::error::{CliError, Exit};
use super::output::Output;
use super::view;

/// How often the cluster is asked whether it is done.
const POLL: Duration = Duration::from_millis(250);

pub(super) async fn run(command: ClusterCommand, mut client: Client, output: Output, wait: bool) -> Exit {
    let done = match command {
        ClusterCommand::Status { stale } => client.status(stale).await,
        ClusterCommand::Join { node, bind } => join(&mut client, output, node, bind.as_deref(), wait).await,
        ClusterCommand::Leave(Host { node }) => leave(&mut client, output, node, wait).await,
        ClusterCommand::TransferLeader { to } => transfer(&mut client, output, to, wait).await,
        ClusterCommand::Cordon { host: Host { node }, reason } => {
            cordon(&mut client, output, node, true, reason.unwrap_or_default()).await
        }
        ClusterCommand::Uncordon(Host { node }) => {
            cordon(&mut client, output, node, false, String::new()).await
        }
    };
    match done {
        Ok(cluster) => {
            output.show(&view::Cluster::from(&cluster));
            Exit::Ok
        }
        Err(error) => {
            output.fail(&error, None);
            error.exit()
        }
    }
}

async fn cordon(
    client: &mut Client,
    output: Output,
    node: NodeId,
    cordoned: bool,
    reason: String,
) -> Result<ClusterView, CliError> {
    client
        .write(|channel, id| {
            let reason = reason.clone();
            let request = v1::CordonRequest { id: Some(id), node: node.0, cordoned, reason };
            async move { ClusterServiceClient::new(channel).cordon(request).await }
        })
        .await?;
    let cluster = client.status(false).await?;
    if member(&cluster, node).is_some_and(|member| cordoned && member.cordon_reason != reason) {
        output.progress(&lost_reason(node));
    }
    Ok(cluster)
}

/// A member of a version that knows no reasons takes the request, and drops the reason.
fn lost_reason(node: NodeId) -> String {
    format!(
        "node {} is cordoned, but the reason was not kept: the member that was asked is of an older version; ask another with --server",
        node.0
    )
}

async fn join(
    client: &mut Client,
    output: Output,
    node: NodeId,
    bind: Option<&str>,
    wait: bool,
) -> Result<ClusterView, CliError> {
    let cluster = client.status(false).await?;
    if let Some(member) = member(&cluster, node) {
        output.progress(&format!("node {} is a member already, a {}", node.0, member.role));
        return Ok(cluster);
    }
    let peers: Vec<String> = cluster
        .members
        .iter()
        .filter(|member| member.healthy && !member.leaving && member.role != Role::Worker)
        .map(|member| format!(" --peer {}:{}", member.node.0, member.address))
        .collect();
    let bind = bind.unwrap_or("ADDR:PORT");
    output.progress("To have it join, start on the new host:");
    output.progress(&format!("  blixard node --id {} --bind {bind}{}", node.0, peers.concat()));
    if !wait {
        return Ok(cluster);
    }
    output.progress(&format!("Waiting until node {} is a member …", node.0));
    loop {
        let cluster = client.status(false).await?;
        if let Some(member) = member(&cluster, node).filter(|member| member.healthy) {
            output.progress(&format!("node {} is a member now, a {}", node.0, member.role));
            return Ok(cluster);
        }
        pause(client, || CliError::Pending {
            what: format!("node {} is not a member yet", node.0),
            stands: "waiting for that node to be started".into(),
        })
        .await?;
    }
}

async fn leave(
    client: &mut Client,
    output: Output,
    node: NodeId,
    wait: bool,
) -> Result<ClusterView, CliError> {
    let mut cluster = cordon(client, output, node, true, String::new()).await?;
    let mut told = String::new();
    while let Some(vms) = member(&cluster, node).map(|member| member.vms).filter(|vms| *vms > 0) {
        let names = names_on(client, node).await?;
        let waits = format!("node {} is cordoned and still has {names}", node.0);
        if waits != told {
            output
                .progress(&format!("{waits}: stop or delete them (`blixard cluster uncordon` undoes this)"));
            told = waits;
        }
        let busy = || RequestError::HostBusy { node, vms }.into();
        if !wait {
            return Err(busy());
        }
        pause(client, busy).await?;
        cluster = client.status(false).await?;
    }
    client
        .write(|channel, id| {
            let request = v1::RemoveHostRequest { id: Some(id), node: node.0 };
            async move { ClusterServiceClient::new(channel).remove_host(request).await }
        })
        .await?;
    loop {
        let cluster = client.status(false).await?;
        if !wait || member(&cluster, node).is_none() {
            return Ok(cluster);
        }
        pause(client, || CliError::Pending {
            what: format!("node {} is still a member", node.0),
            stands: "leaving".into(),
        })
        .await?;
    }
}

async fn names_on(client: &mut Client, node: NodeId) -> Result<String, CliError> {
    let (_, vms) = client.list(false).await?;
    let here = vms.iter().filter(|vm| vm.assigned.is_some_and(|(host, _)| host == node));
    Ok(here.map(|vm| vm.name.as_str()).collect::<Vec<_>>().join(", "))
}

async fn transfer(
    client: &mut Client,
    output: Output,
    to: Option<NodeId>,
    wait: bool,
) -> Result<ClusterView, CliError> {
    let target = client.transfer(to).await?;
    output.progress(&format!("leadership goes to node {}", target.0));
    loop {
        let cluster = client.status(false).await?;
        if !wait || cluster.leader == Some(target) {
            return Ok(cluster);
        }
        pause(client, || CliError::Pending {
            what: format!("node {} does not lead", target.0),
            stands: match cluster.leader {
                Some(leader) => format!("led by node {}", leader.0),
                None => "without a leader".into(),
            },
        })
        .await?;
    }
}

fn member(cluster: &ClusterView, node: NodeId) -> Option<&MemberView> {
    cluster.members.iter().find(|member| member.node == node)
}

async fn pause(client: &Client, late: impl FnOnce() -> CliError) -> Result<(), CliError> {
    let left = client.time_left();
    if left.is_zero() {
        return Err(late());
    }
    sleep(POLL.min(left)).await;
    Ok(())
}
