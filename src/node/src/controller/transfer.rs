//! Snapshots travel in pieces: the leader sends the next one when the follower has confirmed the last.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::eraftpb;

use crate::context::Context;
use crate::ids::NodeId;
use crate::message::{Body, SnapshotChunk};
use crate::probes::Probe;
use crate::time::{Duration, Time};

/// The largest snapshot taken, in bytes.
const LEN_MAX: u64 = 1 << 30;
/// A piece not confirmed for this long is sent again.
const REPEAT_AFTER: Duration = Duration::from_millis(500);
/// A transfer is given up after a piece was sent this often.
const TRIES_MAX: u32 = 10;

#[derive(Debug)]
struct Outgoing {
    /// Without its data.
    message: Box<eraftpb::Message>,
    data: Bytes,
    crc: u32,
    offset: u64,
    sent: Time,
    tries: u32,
}

#[derive(Debug)]
struct Incoming {
    from: NodeId,
    term: u64,
    index: u64,
    len: u64,
    crc: u32,
    data: Vec<u8>,
}

/// Snapshots under way from and to this node.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    outgoing: BTreeMap<NodeId, Outgoing>,
    incoming: Option<Incoming>,
}

impl Transfers {
    /// Begins to send a snapshot, in place of any other to that member.
    pub(crate) fn begin(&mut self, mut message: eraftpb::Message, ctx: &mut Context<'_>) {
        let to = NodeId(message.to);
        let data = std::mem::take(&mut message.mut_snapshot().data);
        let same =
            |old: &Outgoing| old.message.term == message.term && index_of(&old.message) == index_of(&message);
        if self.outgoing.get(&to).is_some_and(same) {
            return;
        }
        if data.len() > ctx.me.config.raft.chunk_bytes {
            ctx.hit(Probe::SnapshotInPieces);
        }
        ctx.hit_if(self.outgoing.contains_key(&to), Probe::SnapshotSuperseded);
        let crc = crc32fast::hash(&data);
        let out = Outgoing { message: Box::new(message), data, crc, offset: 0, sent: ctx.now.boot, tries: 0 };
        self.outgoing.insert(to, out);
        self.send_piece(to, ctx);
    }

    fn send_piece(&mut self, to: NodeId, ctx: &mut Context<'_>) {
        let Some(out) = self.outgoing.get_mut(&to) else { return };
        let start = out.offset as usize;
        let end = out.data.len().min(start + ctx.me.config.raft.chunk_bytes);
        out.sent = ctx.now.boot;
        out.tries += 1;
        let chunk = SnapshotChunk {
            message: out.message.clone(),
            offset: out.offset,
            len: out.data.len() as u64,
            crc: out.crc,
            data: out.data.slice(start..end),
        };
        ctx.send(to, Body::SnapshotChunk(chunk));
    }

    /// A member has all bytes below `offset`. True when that is the whole snapshot.
    pub(crate) fn confirmed(
        &mut self,
        from: NodeId,
        (index, term, offset): (u64, u64, u64),
        ctx: &mut Context<'_>,
    ) -> bool {
        let Some(out) = self.outgoing.get_mut(&from) else { return false };
        if index_of(&out.message) != index || out.message.term != term || offset <= out.offset {
            return false;
        }
        if offset >= out.data.len() as u64 {
            self.outgoing.remove(&from);
            return true;
        }
        out.offset = offset;
        out.tries = 0;
        self.send_piece(from, ctx);
        false
    }

    /// Takes a piece. The whole snapshot's message when it was the last one.
    pub(crate) fn piece(
        &mut self,
        from: NodeId,
        chunk: SnapshotChunk,
        ctx: &mut Context<'_>,
    ) -> Option<eraftpb::Message> {
        let (term, index) = (chunk.message.term, index_of(&chunk.message));
        if chunk.len > LEN_MAX || chunk.len == 0 {
            return None;
        }
        let known = self.incoming.as_ref().is_some_and(|incoming| {
            (incoming.from, incoming.term, incoming.index) == (from, term, index)
                && (incoming.len, incoming.crc) == (chunk.len, chunk.crc)
        });
        if !known {
            if chunk.offset != 0 || self.incoming.as_ref().is_some_and(|incoming| incoming.term > term) {
                return None;
            }
            ctx.hit_if(self.incoming.is_some(), Probe::SnapshotOvertaken);
            self.incoming =
                Some(Incoming { from, term, index, len: chunk.len, crc: chunk.crc, data: Vec::new() });
        }
        let incoming = self.incoming.as_mut()?;
        if chunk.offset == incoming.data.len() as u64 {
            incoming.data.extend_from_slice(&chunk.data);
        } else {
            ctx.hit(Probe::SnapshotPieceOutOfOrder);
        }
        let offset = incoming.data.len() as u64;
        if offset < incoming.len {
            ctx.send(from, Body::SnapshotAck { index, term, offset });
            return None;
        }
        let whole = self.incoming.take()?;
        if whole.data.len() as u64 != whole.len || crc32fast::hash(&whole.data) != whole.crc {
            return None;
        }
        ctx.send(from, Body::SnapshotAck { index, term, offset });
        let mut message = *chunk.message;
        message.mut_snapshot().data = whole.data.into();
        Some(message)
    }

    /// Sends again what was not confirmed in time; the members whose transfers were given up.
    pub(crate) fn wake(&mut self, ctx: &mut Context<'_>) -> Vec<NodeId> {
        let due = |out: &Outgoing| out.sent + REPEAT_AFTER <= ctx.now.boot;
        let late: Vec<_> = self.outgoing.iter().filter(|(_, out)| due(out)).map(|(to, _)| *to).collect();
        let mut abandoned = Vec::new();
        for to in late {
            if self.outgoing.get(&to).is_some_and(|out| out.tries >= TRIES_MAX) {
                ctx.hit(Probe::SnapshotAbandoned);
                self.outgoing.remove(&to);
                abandoned.push(to);
            } else {
                ctx.hit(Probe::SnapshotPieceRepeated);
                self.send_piece(to, ctx);
            }
        }
        abandoned
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.outgoing.values().map(|out| out.sent + REPEAT_AFTER).min()
    }

    pub(crate) fn is_sending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// A deposed leader sends no more.
    pub(crate) fn deposed(&mut self) {
        self.outgoing.clear();
    }
}

fn index_of(message: &eraftpb::Message) -> u64 {
    message.get_snapshot().get_metadata().index
}

#[cfg(test)]
mod tests;
