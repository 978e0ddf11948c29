//! `PeerService`: what other members say.
//!
//! A stream belongs to one member. Every frame on it must decode and come from that member, else the stream ends; what
//! it says beyond that is for the node to judge.

use blixard_node::codec::decode_message;
use blixard_node::ids::NodeId;
use blixard_node::message::Message;
use blixard_proto::v1::peer_service_server::PeerService;
use blixard_proto::v1::{PeerEnd, PeerFrame};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::Api;
use crate::net::{ADDRESS_KEY, NODE_KEY};

/// The longest address that is taken down, in bytes.
const ADDRESS_LEN_MAX: usize = 256;

#[tonic::async_trait]
impl PeerService for Api {
    async fn exchange(&self, request: Request<Streaming<PeerFrame>>) -> Result<Response<PeerEnd>, Status> {
        let from = sender(request.metadata(), self.me)?;
        let address = text(request.metadata(), ADDRESS_KEY)?.to_owned();
        if address.is_empty() || address.len() > ADDRESS_LEN_MAX {
            return Err(Status::invalid_argument(format!("{ADDRESS_KEY} is no address")));
        }
        tracing::debug!(peer = %from, address, "a peer connected");
        self.peers.heard(from, address);
        let ended = self.listen(from, request.into_inner()).await;
        self.peers.lost(from);
        if let Err(status) = &ended {
            tracing::debug!(peer = %from, %status, "a peer's stream ended");
        }
        ended.map(|()| Response::new(PeerEnd {}))
    }
}

impl Api {
    async fn listen(&self, from: NodeId, mut frames: Streaming<PeerFrame>) -> Result<(), Status> {
        while let Some(frame) = frames.message().await? {
            let message = check(&frame, from)?;
            if !self.node.deliver(message).await {
                return Err(Status::unavailable("this node is ending"));
            }
        }
        Ok(())
    }
}

fn check(frame: &PeerFrame, from: NodeId) -> Result<Message, Status> {
    let message = decode_message(&frame.message).map_err(|error| {
        tracing::warn!(peer = %from, %error, "a peer sent what cannot be read");
        Status::invalid_argument(error.to_string())
    })?;
    if message.from != from {
        tracing::warn!(peer = %from, says = %message.from, "a peer speaks for another");
        return Err(Status::invalid_argument(format!("this is {from}'s stream, not {}'s", message.from)));
    }
    Ok(message)
}

fn sender(metadata: &MetadataMap, me: NodeId) -> Result<NodeId, Status> {
    let node = text(metadata, NODE_KEY)?
        .parse()
        .map_err(|_| Status::invalid_argument(format!("{NODE_KEY} is no node id")))?;
    if node == 0 || node == me.0 {
        return Err(Status::invalid_argument(format!("node id {node} cannot be a peer's of {me}")));
    }
    Ok(NodeId(node))
}

fn text<'a>(metadata: &'a MetadataMap, key: &'static str) -> Result<&'a str, Status> {
    metadata
        .get(key)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Status::invalid_argument(format!("the metadata lacks {key}")))
}

#[cfg(test)]
mod tests {
    use blixard_node::codec::encode_message;
    use blixard_node::ids::{ClusterId, Incarnation};
    use blixard_node::message::Body;

    use super::*;

    fn frame(from: u64) -> PeerFrame {
        let message = Message {
            cluster: ClusterId(1),
            from: NodeId(from),
            incarnation: Incarnation(1),
            body: Body::Nudge,
        };
        PeerFrame { message: encode_message(&message).into() }
    }

    #[test]
    fn a_stream_carries_its_owners_messages_alone() {
        assert!(check(&frame(2), NodeId(2)).is_ok());
        assert!(check(&frame(3), NodeId(2)).is_err());
        assert!(check(&PeerFrame { message: vec![0xff; 9].into() }, NodeId(2)).is_err());
    }

    #[test]
    fn a_stream_says_whose_it_is() {
        let mut metadata = MetadataMap::new();
        assert!(sender(&metadata, NodeId(1)).is_err());
        for (value, fits) in [("2", true), ("1", false), ("0", false), ("x", false)] {
            metadata.insert(NODE_KEY, value.parse().expect("ascii"));
            assert_eq!(sender(&metadata, NodeId(1)).is_ok(), fits, "{value}");
        }
    }
}
