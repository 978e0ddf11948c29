//! One peer's stream: connect, send, and when it breaks, wait and connect again.

use std::time::Duration;

use blixard_node::codec::encode_message;
use blixard_node::ids::NodeId;
use blixard_node::message::Message;
use blixard_proto::v1::PeerFrame;
use blixard_proto::v1::peer_service_client::PeerServiceClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

use super::{ADDRESS_KEY, Connect, NODE_KEY};

/// The pause after the first failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest pause. Shorter than an election, so that a peer that is back is soon heard.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Frames between the queue and the connection.
const FRAMES_MAX: usize = 16;

/// What a node tells of itself on its streams.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) me: NodeId,
    pub(super) address: String,
}

/// A peer to keep a stream to, until its queue is closed.
pub(super) struct Dial {
    pub(super) peer: NodeId,
    pub(super) addresses: watch::Receiver<String>,
    pub(super) messages: mpsc::Receiver<Message>,
}

/// Keeps a stream for each peer dialled.
pub(super) async fn keep(own: Own, connect: Connect, mut dials: mpsc::UnboundedReceiver<Dial>) {
    while let Some(dial) = dials.recv().await {
        tokio::spawn(keep_one(own.clone(), connect.clone(), dial));
    }
}

async fn keep_one(own: Own, connect: Connect, mut dial: Dial) {
    let mut backoff = BACKOFF_MIN;
    // Connect when there is something to say, not before.
    while let Some(first) = dial.messages.recv().await {
        let address = dial.addresses.borrow_and_update().clone();
        let began = tokio::time::Instant::now();
        match exchange(&own, &connect, &address, first, &mut dial).await {
            Ended::Closed => return,
            Ended::Moved => backoff = BACKOFF_MIN,
            Ended::Broken(reason) => {
                tracing::debug!(peer = %dial.peer, address, reason, "the stream ended");
                if began.elapsed() > CONNECT_MAX {
                    backoff = BACKOFF_MIN;
                }
                pause(backoff, &mut dial).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
        // What was said while nobody listened is old news.
        while dial.messages.try_recv().is_ok() {}
    }
}

async fn pause(backoff: Duration, dial: &mut Dial) {
    tokio::select! {
        // In order, here and below, because tokio's own choice is not the seed's.
        biased;
        () = tokio::time::sleep(backoff) => {}
        // A new address is worth a try at once.
        Ok(()) = dial.addresses.changed() => dial.addresses.mark_changed(),
    }
}

enum Ended {
    /// The peer is not wanted any more.
    Closed,
    /// It has another address now.
    Moved,
    /// The connection could not be made, or broke.
    Broken(String),
}

async fn exchange(own: &Own, connect: &Connect, address: &str, first: Message, dial: &mut Dial) -> Ended {
    let channel = match tokio::time::timeout(CONNECT_MAX, connect(address.to_owned())).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return Ended::Broken(error.to_string()),
        Err(_) => return Ended::Broken("connecting took too long".into()),
    };
    let (frames, stream) = mpsc::channel(FRAMES_MAX);
    let mut request = Request::new(ReceiverStream::new(stream));
    request.metadata_mut().insert(NODE_KEY, MetadataValue::from(own.me.0));
    if let Ok(address) = MetadataValue::try_from(own.address.as_str()) {
        request.metadata_mut().insert(ADDRESS_KEY, address);
    }
    let mut client = PeerServiceClient::new(channel);
    tracing::debug!(peer = %dial.peer, address, "connected");
    let Dial { addresses, messages, .. } = dial;
    tokio::select! {
        biased;
        ended = client.exchange(request) => {
            let status = ended.err().unwrap_or_else(|| Status::unavailable("the peer ended it"));
            Ended::Broken(status.to_string())
        }
        () = pump(first, messages, frames) => Ended::Closed,
        Ok(()) = addresses.changed() => Ended::Moved,
    }
}

/// Puts messages on the stream; ends when the queue is closed. Never ends because the stream did: that is for the call
/// to tell.
async fn pump(first: Message, messages: &mut mpsc::Receiver<Message>, frames: mpsc::Sender<PeerFrame>) {
    let mut next = Some(first);
    while let Some(message) = next {
        let frame = PeerFrame { message: encode_message(&message).into() };
        if frames.send(frame).await.is_err() {
            return std::future::pending().await;
        }
        next = messages.recv().await;
    }
}
