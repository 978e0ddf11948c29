//! The nodes of a tailnet, by `tailscaled`'s LocalAPI on its Unix socket.
//!
//! `GET /localapi/v0/status` (`tailscale.com/ipn/ipnstate`, `Status` and `PeerStatus`). Of the answer only what is needed
//! is read, and nothing of it is taken to be there: `Self` and `Peer` may be null, `Tags` is absent when empty, host names
//! repeat.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use super::Candidate;

/// Where `tailscaled` serves its LocalAPI on Linux.
pub const SOCKET: &str = "/var/run/tailscale/tailscaled.sock";

/// The name that the LocalAPI wants to be called by.
const HOST: &str = "local-tailscaled.sock";

/// The largest answer that is read, in bytes: thousands of nodes.
const ANSWER_LEN_MAX: usize = 16 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    #[serde(default)]
    backend_state: String,
    #[serde(default)]
    peer: Option<BTreeMap<String, Option<Peer>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Peer {
    #[serde(default)]
    host_name: Option<String>,
    #[serde(default, rename = "DNSName")]
    dns_name: Option<String>,
    #[serde(default, rename = "TailscaleIPs")]
    tailscale_ips: Option<Vec<String>>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    online: Option<bool>,
    #[serde(default)]
    expired: Option<bool>,
}

impl Peer {
    /// How the log calls it: its DNS name is unique, its host name is not.
    fn name(&self) -> &str {
        let dns = self.dns_name.as_deref().map(|name| name.trim_end_matches('.'));
        dns.filter(|name| !name.is_empty()).or(self.host_name.as_deref()).unwrap_or("a node without a name")
    }

    /// Why it is no candidate.
    fn unfit(&self, tag: Option<&str>) -> Option<&'static str> {
        let tagged = |tag: &str| self.tags.iter().flatten().any(|own| own == tag);
        if tag.is_some_and(|tag| !tagged(tag)) {
            Some("it does not carry the tag")
        } else if self.expired == Some(true) {
            Some("its key has expired")
        } else if self.online != Some(true) {
            Some("it is offline")
        } else {
            None
        }
    }
}

/// The addresses of all nodes that are online, not expired, and carry the tag, if one is given: of each node the IPv4
/// ones first.
///
/// # Errors
/// When nobody serves the socket, the answer is none, or Tailscale is not up.
pub(super) async fn list(socket: &Path, tag: Option<&str>, port: u16) -> Result<Vec<Candidate>, String> {
    let body = get(socket, "/localapi/v0/status").await?;
    let status: Status = serde_json::from_slice(&body)
        .map_err(|error| format!("tailscaled's answer on {} cannot be read: {error}", socket.display()))?;
    if status.backend_state != "Running" {
        return Err(format!(
            "Tailscale is not up: its state is {:?}; see `tailscale status`",
            status.backend_state
        ));
    }
    let peers = status.peer.unwrap_or_default().into_values().flatten();
    Ok(peers.flat_map(|peer| candidates(&peer, tag, port)).collect())
}

fn candidates(peer: &Peer, tag: Option<&str>, port: u16) -> Vec<Candidate> {
    if let Some(reason) = peer.unfit(tag) {
        tracing::debug!(node = peer.name(), "left out: {reason}");
        return Vec::new();
    }
    let mut ips: Vec<IpAddr> = Vec::new();
    for text in peer.tailscale_ips.iter().flatten() {
        match text.parse() {
            Ok(ip) => ips.push(ip),
            Err(_) => tracing::debug!(node = peer.name(), text, "left out: that is no IP address"),
        }
    }
    ips.sort_by_key(IpAddr::is_ipv6);
    ips.into_iter().map(|ip| Candidate::at(SocketAddr::new(ip, port).to_string())).collect()
}

/// One request over a connection of its own.
async fn get(socket: &Path, path: &str) -> Result<Bytes, String> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| format!("cannot reach tailscaled on {}: {error}", socket.display()))?;
    let failed = |error: hyper::Error| format!("tailscaled on {} failed: {error}", socket.display());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Ends with the sender, and when the caller gives up with the guard.
    let _connection = AbortOnDrop(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, HOST)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let code = response.status();
    let body = Limited::new(response.into_body(), ANSWER_LEN_MAX)
        .collect()
        .await
        .map_err(|error| format!("tailscaled on {} broke off: {error}", socket.display()))?
        .to_bytes();
    if !code.is_success() {
        let words = String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned();
        return Err(format!("tailscaled on {} refused: {code}: {words}", socket.display()));
    }
    Ok(body)
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
