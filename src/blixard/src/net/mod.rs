//! The way to other members: one long-lived stream to each, with a bounded queue.

mod link;
mod transport;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blixard_node::ids::NodeId;
use blixard_node::message::Message;
use tokio::sync::{mpsc, watch};

pub use transport::{AnyError, Connect, Router, Serve, Shutdown, Transport, connect, endpoint};

/// The most messages that wait for one peer's stream. One more is dropped, the newest: what waits was said first, and
/// consensus repeats what it still needs.
pub const QUEUE_MAX: usize = 1_024;

/// The most peers outside the member list that are answered: nodes that ask to join.
pub const GUESTS_MAX: usize = 256;

/// The metadata key of a peer stream's sender.
pub(crate) const NODE_KEY: &str = "blixard-node";

/// The metadata key of the address under which the sender is reached.
pub(crate) const ADDRESS_KEY: &str = "blixard-address";

/// Which peers there are, where they are reached, and the queues to them. Shared by the turn loop, which sends, and the
/// server, which hears from peers.
#[derive(Clone)]
pub struct Peers {
    me: NodeId,
    dial: mpsc::UnboundedSender<link::Dial>,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    /// The member list as the node gave it last.
    directory: BTreeMap<NodeId, String>,
    links: BTreeMap<NodeId, Link>,
    dropped: u64,
}

struct Link {
    queue: mpsc::Sender<Message>,
    address: watch::Sender<String>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Peers {
    /// The peers of `me`, which tells them that it is reached at `address`. The future keeps the connections; it ends
    /// when all clones are gone, and takes the connections with it.
    pub fn new(
        me: NodeId,
        address: String,
        connect: Connect,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (dial, dials) = mpsc::unbounded_channel();
        let peers = Self { me, dial, table: Arc::default() };
        (peers, link::keep(link::Own { me, address }, connect, dials))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole between any two statements that could panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages dropped because a queue was full or the receiver unknown.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.table().dropped
    }

    /// A peer has opened a stream and says where it is reached. Newer than the member list, so it goes first until the list
    /// changes.
    pub fn heard(&self, from: NodeId, address: String) {
        let mut table = self.table();
        let guests = table.links.len().saturating_sub(table.directory.len());
        if from != self.me && (table.links.contains_key(&from) || guests < GUESTS_MAX) {
            self.reach(&mut table, from, address);
        }
    }

    /// A peer's stream has ended: a guest is forgotten.
    pub fn lost(&self, from: NodeId) {
        let mut table = self.table();
        if !table.directory.contains_key(&from) {
            table.links.remove(&from);
        }
    }

    /// Where a peer is reached, as far as this node knows.
    #[must_use]
    pub fn address(&self, peer: NodeId) -> Option<String> {
        self.table().links.get(&peer).map(|link| link.address.borrow().clone())
    }

    /// A member was found at another address than the known one. Goes first until the member list changes.
    pub fn found(&self, peer: NodeId, address: String) {
        let mut table = self.table();
        if table.directory.contains_key(&peer) {
            self.reach(&mut table, peer, address);
        }
    }

    fn reach(&self, table: &mut Table, peer: NodeId, address: String) {
        if let Some(link) = table.links.get(&peer) {
            link.address.send_if_modified(|known| {
                let changed = *known != address;
                *known = address;
                changed
            });
            return;
        }
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let (address, addresses) = watch::channel(address);
        // Fails only when the daemon is ending.
        let _ = self.dial.send(link::Dial { peer, addresses, messages });
        table.links.insert(peer, Link { queue, address });
    }
}

impl blixard_runtime::Network for Peers {
    fn send(&mut self, to: NodeId, message: Message) {
        let mut table = self.table();
        let sent = table.links.get(&to).is_some_and(|link| link.queue.try_send(message).is_ok());
        if !sent {
            table.dropped += 1;
            tracing::debug!(%to, dropped = table.dropped, "dropped a message: the queue is full or the peer unknown");
        }
    }

    fn directory(&mut self, members: Vec<(NodeId, String)>) {
        let mut table = self.table();
        let members: BTreeMap<NodeId, String> =
            members.into_iter().filter(|(peer, _)| *peer != self.me).collect();
        let before = std::mem::replace(&mut table.directory, members.clone());
        for gone in before.keys().filter(|peer| !members.contains_key(peer)) {
            table.links.remove(gone);
        }
        for (peer, address) in members {
            if before.get(&peer) != Some(&address) || !table.links.contains_key(&peer) {
                self.reach(&mut table, peer, address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use blixard_node::ids::{ClusterId, Incarnation};
    use blixard_node::message::Body;
    use blixard_runtime::Network as _;

    use super::*;

    fn nudge() -> Message {
        Message { cluster: ClusterId(1), from: NodeId(1), incarnation: Incarnation(1), body: Body::Nudge }
    }

    /// Peers that nobody connects for.
    fn unconnected() -> (Peers, mpsc::UnboundedReceiver<link::Dial>) {
        let (dial, dials) = mpsc::unbounded_channel();
        (Peers { me: NodeId(1), dial, table: Arc::default() }, dials)
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (mut peers, mut dials) = unconnected();
        peers.directory(vec![(NodeId(2), "a:1".into())]);
        let mut dial = dials.try_recv().expect("a link is dialled");
        for _ in 0..QUEUE_MAX + 3 {
            peers.send(NodeId(2), nudge());
        }
        peers.send(NodeId(9), nudge());
        assert_eq!(peers.dropped(), 4);
        let waiting = std::iter::from_fn(|| dial.messages.try_recv().ok()).count();
        assert_eq!(waiting, QUEUE_MAX);
    }

    #[test]
    fn the_newest_word_on_an_address_counts() {
        let (mut peers, mut dials) = unconnected();
        peers.directory(vec![(NodeId(2), "old:1".into())]);
        let dial = dials.try_recv().expect("a link is dialled");
        peers.heard(NodeId(2), "new:1".into());
        assert_eq!(*dial.addresses.borrow(), "new:1");
        peers.directory(vec![(NodeId(2), "old:1".into()), (NodeId(3), "c:1".into())]);
        assert_eq!(*dial.addresses.borrow(), "new:1", "the list said nothing new of it");
        peers.directory(vec![(NodeId(2), "newer:1".into())]);
        assert_eq!(*dial.addresses.borrow(), "newer:1");
    }

    #[test]
    fn where_a_member_was_found_counts_until_the_list_changes() {
        let (mut peers, mut dials) = unconnected();
        peers.directory(vec![(NodeId(2), "old:1".into())]);
        let dial = dials.try_recv().expect("a link is dialled");
        peers.found(NodeId(2), "new:1".into());
        assert_eq!(*dial.addresses.borrow(), "new:1");
        assert_eq!(peers.address(NodeId(2)).as_deref(), Some("new:1"));
        peers.found(NodeId(3), "c:1".into());
        assert_eq!(peers.address(NodeId(3)), None, "found, but no member");
    }

    #[test]
    fn guests_are_bounded_and_forgotten() {
        let (mut peers, mut dials) = unconnected();
        peers.directory(vec![(NodeId(2), "b:1".into())]);
        for guest in 0..GUESTS_MAX as u64 + 5 {
            peers.heard(NodeId(100 + guest), "g:1".into());
        }
        let dialled: Vec<_> = std::iter::from_fn(|| dials.try_recv().ok()).collect();
        assert_eq!(dialled.len(), 1 + GUESTS_MAX);
        peers.lost(NodeId(100));
        peers.lost(NodeId(2));
        peers.send(NodeId(100), nudge());
        assert_eq!(peers.dropped(), 1, "the guest is forgotten");
        peers.send(NodeId(2), nudge());
        assert_eq!(peers.dropped(), 1, "the member is not");
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_failing_connection_is_tried_again_but_less_and_less_often() {
        let tries = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&tries);
        let start = tokio::time::Instant::now();
        let connect: Connect = Arc::new(move |_| {
            seen.lock().expect("not poisoned").push(start.elapsed());
            Box::pin(async { Err("refused".into()) })
        });
        let (mut peers, keep) = Peers::new(NodeId(1), "a:1".into(), connect);
        let keeper = tokio::spawn(keep);
        peers.directory(vec![(NodeId(2), "b:1".into())]);
        for _ in 0..2_000 {
            peers.send(NodeId(2), nudge());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let tries = tries.lock().expect("not poisoned").clone();
        assert!((8..=40).contains(&tries.len()), "{} tries in 20 s", tries.len());
        let last = tries.windows(2).last().map(|pair| pair[1] - pair[0]);
        assert!(last >= Some(link::BACKOFF_MAX), "the last pause was {last:?}");
        drop(peers);
        keeper.await.expect("ends when its peers are gone");
    }
}
