//! `blixard vm logs`.

use std::io::{self, Write};

use blixard_proto::v1::LogsRequest;
use blixard_proto::v1::guest_service_client::GuestServiceClient;

use super::args::Logs;
use super::client::Client;
use super::error::CliError;
use super::output::Output;
use super::vm::check_name;

pub(super) async fn run(args: &Logs, client: &mut Client, output: Output) -> Result<(), CliError> {
    let name = check_name(args.vm.name())?.to_string();
    let mut request = LogsRequest {
        name: name.clone(),
        lines: args.lines,
        follow: args.follow,
        stale: args.stale,
        ..LogsRequest::default()
    };
    loop {
        let mut stream = client
            .call(|channel| {
                let request = request.clone();
                async move { GuestServiceClient::new(channel).logs(request).await }
            })
            .await?;
        let broke = loop {
            match stream.message().await {
                Ok(Some(chunk)) => {
                    // Once more the whole time for the next connection: this one was of use.
                    client.renew();
                    if !chunk.notice.is_empty() {
                        output.progress(&format!("{name}: {}", chunk.notice));
                    }
                    if !chunk.place.is_empty() {
                        request.after = chunk.place;
                    }
                    if !print(&chunk.data) {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(status) => break status,
            }
        };
        let reason = client.broke(&broke)?;
        output.progress(&format!("the connection broke ({reason}); going on"));
    }
}

/// Prints a guest's bytes as they are. False when nobody reads them any more.
pub(super) fn print(data: &[u8]) -> bool {
    let mut out = io::stdout().lock();
    data.is_empty() || (out.write_all(data).is_ok() && out.flush().is_ok())
}
