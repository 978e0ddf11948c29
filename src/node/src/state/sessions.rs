//! Exactly once: what was answered to whom, so that a retry gets the first answer.
//!
//! Sessions are bounded: the one used longest ago is expired when there are too many. A client does not register;
//! it sends with each request a revision it knew before its first one (`born`). Expiry raises `floor` to the expired
//! session's last use. A request of an unknown session is executed only if it was born at or after `floor`: had
//! its session ever been expired, that session's last use would be later than its birth, and `floor` no earlier than that.

use std::collections::BTreeMap;

use super::hash::hash_of;
use crate::error::RequestError;
use crate::ids::{ClientId, Generation, RequestId, Revision};

/// What a write was answered.
pub type Answer = Result<(Revision, Generation), RequestError>;

/// A remembered answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The request's number in its session.
    pub sequence: u64,
    /// The hash of the request's content.
    pub fingerprint: u64,
    /// The answer.
    pub answer: Answer,
}

/// One client's session.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Session {
    /// The revision of its newest request.
    pub last_used: Revision,
    /// Answers to requests below this number are forgotten.
    pub forgotten_below: u64,
    /// The newest answers, by ascending number.
    pub answers: Vec<Remembered>,
}

/// All sessions.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sessions {
    by_client: BTreeMap<ClientId, Session>,
    by_use: BTreeMap<Revision, ClientId>,
    floor: Revision,
    hash: u64,
}

/// What the sessions know of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Never seen: execute it.
    New,
    /// Answered before.
    Answered(Answer),
    /// Cannot be told any more, or the id was misused.
    Refused(RequestError),
}

impl Sessions {
    /// Sessions last used at or before this revision may have been expired.
    #[must_use]
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_client.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// All sessions by client.
    pub fn iter(&self) -> impl Iterator<Item = (&ClientId, &Session)> {
        self.by_client.iter()
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.wrapping_add(hash_of(&self.floor))
    }

    /// Puts a snapshot's content back.
    #[must_use]
    pub fn restore(floor: Revision, sessions: impl IntoIterator<Item = (ClientId, Session)>) -> Self {
        let mut all = Self { floor, ..Self::default() };
        for (client, session) in sessions {
            all.by_use.insert(session.last_used, client);
            all.hash = all.hash.wrapping_add(head_hash(client, &session));
            for remembered in &session.answers {
                all.hash = all.hash.wrapping_add(answer_hash(client, remembered));
            }
            all.by_client.insert(client, session);
        }
        all
    }

    /// Whether the request was seen before.
    #[must_use]
    pub fn lookup(&self, id: RequestId, fingerprint: u64) -> Lookup {
        let Some(session) = self.by_client.get(&id.client) else {
            if id.born < self.floor {
                return Lookup::Refused(RequestError::SessionExpired { floor: self.floor });
            }
            return Lookup::New;
        };
        if id.sequence < session.forgotten_below {
            return Lookup::Refused(RequestError::SessionExpired { floor: self.floor });
        }
        match session.answers.binary_search_by_key(&id.sequence, |remembered| remembered.sequence) {
            Err(at) if planted!(AnswerOfTheRequestBefore) && at > 0 => {
                Lookup::Answered(session.answers[at - 1].answer.clone())
            }
            Err(_) => Lookup::New,
            Ok(at) if session.answers[at].fingerprint != fingerprint => {
                Lookup::Refused(RequestError::IdReused { sequence: id.sequence })
            }
            Ok(at) => Lookup::Answered(session.answers[at].answer.clone()),
        }
    }

    /// Remembers the answer to a request that [`Sessions::lookup`] called new.
    pub fn record(
        &mut self,
        id: RequestId,
        revision: Revision,
        fingerprint: u64,
        answer: Answer,
        sessions_max: u64,
        answers_max: u64,
    ) {
        let session = self.by_client.entry(id.client).or_default();
        if session.last_used != Revision(0) {
            self.by_use.remove(&session.last_used);
            self.hash = self.hash.wrapping_sub(head_hash(id.client, session));
        }
        session.last_used = revision;
        let remembered = Remembered { sequence: id.sequence, fingerprint, answer };
        self.hash = self.hash.wrapping_add(answer_hash(id.client, &remembered));
        let at = session.answers.partition_point(|other| other.sequence < id.sequence);
        session.answers.insert(at, remembered);
        if session.answers.len() as u64 > answers_max {
            let forgotten = session.answers.remove(0);
            if !planted!(ForgottenCountsAsNew) {
                session.forgotten_below = forgotten.sequence + 1;
            }
            self.hash = self.hash.wrapping_sub(answer_hash(id.client, &forgotten));
        }
        self.hash = self.hash.wrapping_add(head_hash(id.client, session));
        self.by_use.insert(revision, id.client);
        self.expire(sessions_max);
    }

    fn expire(&mut self, sessions_max: u64) {
        while self.by_client.len() as u64 > sessions_max {
            let Some((last_used, client)) = self.by_use.pop_first() else { return };
            if !planted!(FloorNotRaised) {
                self.floor = self.floor.max(last_used);
            }
            if let Some(session) = self.by_client.remove(&client) {
                self.hash = self.hash.wrapping_sub(head_hash(client, &session));
                for remembered in &session.answers {
                    self.hash = self.hash.wrapping_sub(answer_hash(client, remembered));
                }
            }
        }
    }

    pub(super) fn check(&self) {
        assert_eq!(self.by_client.len(), self.by_use.len(), "invariant: one use per session");
        let again = Self::restore(self.floor, self.by_client.clone());
        assert_eq!(again.hash, self.hash, "invariant: the sessions' hash is up to date");
    }
}

fn head_hash(client: ClientId, session: &Session) -> u64 {
    hash_of(&(client, session.last_used, session.forgotten_below))
}

fn answer_hash(client: ClientId, remembered: &Remembered) -> u64 {
    hash_of(&(client, remembered.sequence, remembered.fingerprint, &remembered.answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(client: u64, sequence: u64, born: u64) -> RequestId {
        RequestId { client: ClientId(client), sequence, born: Revision(born) }
    }

    #[test]
    fn a_retry_gets_the_first_answer_and_another_content_is_refused() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.lookup(id(1, 1, 0), 7), Lookup::New);
        let answer = Ok((Revision(5), Generation(1)));
        sessions.record(id(1, 1, 0), Revision(5), 7, answer.clone(), 10, 4);
        assert_eq!(sessions.lookup(id(1, 1, 0), 7), Lookup::Answered(answer));
        assert!(matches!(sessions.lookup(id(1, 1, 0), 8), Lookup::Refused(RequestError::IdReused { .. })));
        sessions.check();
    }

    #[test]
    fn an_expired_session_is_never_taken_for_a_new_one() {
        let mut sessions = Sessions::default();
        for client in 1..=3 {
            let born = client * 10;
            let done = Ok((Revision(born + 5), Generation(1)));
            sessions.record(id(client, 1, born), Revision(born + 5), 7, done, 2, 4);
        }
        assert_eq!(sessions.len(), 2);
        let lookup = sessions.lookup(id(1, 1, 10), 7);
        assert_eq!(lookup, Lookup::Refused(RequestError::SessionExpired { floor: Revision(15) }));
        assert_eq!(sessions.lookup(id(9, 1, 15), 7), Lookup::New);
        sessions.check();
    }

    #[test]
    fn a_forgotten_answer_is_refused_not_executed_again() {
        let mut sessions = Sessions::default();
        for sequence in 1..=5 {
            let done = Ok((Revision(sequence), Generation(1)));
            sessions.record(id(1, sequence, 0), Revision(sequence), 7, done, 2, 4);
        }
        assert!(matches!(sessions.lookup(id(1, 1, 0), 7), Lookup::Refused(_)));
        assert!(matches!(sessions.lookup(id(1, 2, 0), 7), Lookup::Answered(_)));
        sessions.check();
    }

    #[test]
    fn a_late_request_has_its_place_among_the_answers() {
        let mut sessions = Sessions::default();
        assert!(sessions.is_empty());
        let answer = |sequence| Ok((Revision(sequence), Generation(sequence)));
        for (revision, sequence) in [3, 1, 2].into_iter().enumerate() {
            assert_eq!(sessions.lookup(id(1, sequence, 0), 7), Lookup::New);
            sessions.record(id(1, sequence, 0), Revision(revision as u64 + 1), 7, answer(sequence), 2, 4);
            sessions.check();
        }
        assert_eq!((sessions.len(), sessions.is_empty()), (1, false));
        for sequence in 1..=3 {
            assert_eq!(sessions.lookup(id(1, sequence, 0), 7), Lookup::Answered(answer(sequence)));
        }
        let (client, session) = sessions.iter().next().expect("a session");
        let sequences: Vec<_> = session.answers.iter().map(|remembered| remembered.sequence).collect();
        assert_eq!((*client, sequences), (ClientId(1), vec![1, 2, 3]));
    }

    #[test]
    fn as_many_are_kept_as_the_settings_allow_and_the_one_used_longest_ago_goes() {
        let mut sessions = Sessions::default();
        let mut use_it = |client, sequence, revision| {
            let done = Ok((Revision(revision), Generation(1)));
            sessions.record(id(client, sequence, 0), Revision(revision), 7, done, 2, 4);
            sessions.check();
            (sessions.len(), sessions.floor())
        };
        assert_eq!(use_it(1, 1, 1), (1, Revision(0)));
        assert_eq!(use_it(2, 1, 2), (2, Revision(0)));
        assert_eq!(use_it(1, 2, 3), (2, Revision(0)));
        assert_eq!(use_it(3, 1, 4), (2, Revision(2)), "the second's");
        assert!(matches!(sessions.lookup(id(1, 2, 0), 7), Lookup::Answered(_)));
        assert!(matches!(sessions.lookup(id(2, 1, 1), 7), Lookup::Refused(_)));
    }

    #[test]
    fn as_many_answers_are_kept_as_the_settings_allow() {
        let mut sessions = Sessions::default();
        for sequence in 11..=13 {
            let done = Ok((Revision(sequence), Generation(1)));
            sessions.record(id(1, sequence, 0), Revision(sequence), 7, done, 2, 2);
            sessions.check();
        }
        assert!(matches!(sessions.lookup(id(1, 11, 0), 7), Lookup::Refused(_)));
        assert!(matches!(sessions.lookup(id(1, 12, 0), 7), Lookup::Answered(_)));
        assert_eq!(sessions.lookup(id(1, 14, 0), 7), Lookup::New);
    }

    #[test]
    fn replicas_that_differ_in_their_sessions_are_told_apart() {
        let with = |client, sequence, revision, answer: Answer| {
            let mut sessions = Sessions::default();
            sessions.record(id(client, sequence, 0), Revision(revision), 7, answer, 2, 4);
            sessions.hash()
        };
        let done = |generation| Ok((Revision(5), Generation(generation)));
        let first = with(1, 1, 5, done(1));
        assert_eq!(first, with(1, 1, 5, done(1)));
        for other in
            [with(2, 1, 5, done(1)), with(1, 2, 5, done(1)), with(1, 1, 6, done(1)), with(1, 1, 5, done(2))]
        {
            assert_ne!(first, other);
        }
        let floor = |floor| Sessions::restore(Revision(floor), []).hash();
        assert_ne!(floor(1), floor(2));
    }

    #[test]
    #[should_panic(expected = "the sessions' hash is up to date")]
    fn sessions_that_contradict_their_hash_are_noticed() {
        let mut sessions = Sessions::default();
        sessions.record(id(1, 1, 0), Revision(5), 7, Err(RequestError::NoLeader), 2, 4);
        sessions.hash ^= 1;
        sessions.check();
    }
}
