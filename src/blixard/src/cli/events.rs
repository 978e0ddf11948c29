//! `blixard vm events`.

use std::collections::BTreeMap;
use std::time::Duration;

use blixard_node::error::RequestError;
use tokio::time::sleep;

use super::client::Client;
use super::error::CliError;
use super::output::Output;
use super::view::{Event, Events};
use super::vm::check_name;

/// How often the cluster is asked for more.
const POLL: Duration = Duration::from_millis(500);

/// What was asked for.
pub(super) struct Asked {
    pub(super) names: Vec<String>,
    pub(super) all: bool,
    pub(super) follow: bool,
    pub(super) stale: bool,
}

pub(super) async fn run(asked: Asked, client: &mut Client, output: Output) -> Result<(), CliError> {
    if asked.names.is_empty() && !asked.all {
        return Err(CliError::Usage("name VMs, or give --all".into()));
    }
    for name in &asked.names {
        check_name(name)?;
    }
    let mut seen = Seen::default();
    let first = look(&asked, client, &mut seen).await?;
    if !asked.follow {
        output.show(&first);
        return Ok(());
    }
    output.show_more(&first.events);
    loop {
        sleep(POLL).await;
        client.renew();
        let more = look(&asked, client, &mut seen).await?;
        output.show_more(&more.events);
        if asked.names.iter().all(|name| seen.gone.contains(name)) && !asked.all {
            return Ok(());
        }
    }
}

/// What was shown already.
#[derive(Default)]
struct Seen {
    revision: u64,
    /// How each VM stood when its events were asked for last.
    stood: BTreeMap<String, String>,
    /// Those that were asked for by name and are deleted by now.
    gone: Vec<String>,
}

/// The events after those seen, of all VMs in the order of the log.
async fn look(asked: &Asked, client: &mut Client, seen: &mut Seen) -> Result<Events, CliError> {
    let (mut revision, names) = if asked.all {
        let (revision, vms) = client.list(asked.stale).await?;
        // Only those that stand otherwise have events.
        let stands = vms.iter().map(|vm| {
            (vm.name.to_string(), format!("{}/{:?}/{}/{}", vm.phase, vm.assigned, vm.since.0, vm.reason))
        });
        let now: BTreeMap<String, String> = stands.collect();
        let changed = now.iter().filter(|(name, stands)| seen.stood.get(*name) != Some(*stands));
        let changed: Vec<String> = changed.map(|(name, _)| name.clone()).collect();
        seen.stood = now;
        (revision, changed)
    } else {
        (0, asked.names.clone())
    };
    let mut events = Vec::new();
    for name in names.iter().filter(|name| !seen.gone.contains(name)).cloned().collect::<Vec<_>>() {
        let (at, of_one) = match client.events(&name, asked.stale).await {
            Ok(answer) => answer,
            // Deleted meanwhile: that it was there is known from the list, or from an earlier look.
            Err(CliError::Request(error))
                if matches!(*error, RequestError::VmUnknown { .. }) && (asked.all || seen.revision > 0) =>
            {
                seen.gone.push(name);
                continue;
            }
            Err(error) => return Err(error),
        };
        revision = revision.max(at);
        events.extend(of_one.iter().map(|event| Event::new(&name, event)));
    }
    events.retain(|event| event.revision > seen.revision);
    events.sort_by_key(|event| event.revision);
    seen.revision = events.last().map_or(seen.revision, |event| event.revision).max(1);
    Ok(Events { revision, events })
}
