//! The simulated queue between write-fn and ingest-fn. As SQS may, it delivers messages twice, late and in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kernel::ports::{CommandQueue, MessageDeferral, OutgoingMessage, PortError, SendError};
use kernel::random;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::chance::Chance;
use crate::history::History;
use crate::plan::Setup;

/// The visibility timeout, as on the local stack.
pub(crate) const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(20);
/// The time for which a FIFO queue recognizes a duplicate.
const DEDUPLICATION: Duration = Duration::from_secs(300);
/// Unreadable messages: one is not JSON, the other comes from a future version of the code.
const POISON: [&str; 2] = ["poison", r#"{"schema":65535}"#];
/// The maximum number of messages of one receive.
const BATCH_MAX: u64 = 10;

#[derive(Debug)]
pub(crate) struct Queue {
    is_fifo: bool,
    receive_count_max: u32,
    duplicates: u32,
    chance: Arc<Chance>,
    history: Arc<History>,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    is_deployed: bool,
    /// The waiting messages, by their position in the order of sending.
    waiting: BTreeMap<u64, Waiting>,
    dead: Vec<OutgoingMessage>,
    /// The numbers of unreadable messages: sent, and given up.
    poison: (usize, usize),
    last: Option<OutgoingMessage>,
    sent: u64,
    receipts: u64,
    known: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Waiting {
    id: String,
    message: OutgoingMessage,
    visible_at: Instant,
    receive_count: u32,
    receipt: u64,
}

/// A received message.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) id: String,
    pub(crate) receipt_handle: String,
    pub(crate) message: OutgoingMessage,
    pub(crate) receive_count: u32,
}

impl Queue {
    pub(crate) fn new(setup: &Setup, chance: Arc<Chance>, history: Arc<History>) -> Self {
        Self {
            is_fifo: setup.fifo,
            receive_count_max: setup.receive_count_max,
            duplicates: setup.faults.duplicates,
            chance,
            history,
            state: Mutex::new(State { is_deployed: setup.stage.0.queue_deployed, ..State::default() }),
            arrived: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates the queue, or deletes it with all its messages.
    pub(crate) fn deploy(&self, is_deployed: bool) {
        let mut state = self.lock();
        if state.is_deployed && !is_deployed {
            *state = State { poison: state.poison, sent: state.sent, receipts: state.receipts, ..State::default() };
        }
        state.is_deployed = is_deployed;
    }

    /// Waits for a batch.
    pub(crate) async fn receive(&self) -> Vec<Received> {
        loop {
            let arrival = self.arrived.notified();
            let batch = self.take();
            if !batch.is_empty() {
                return batch;
            }
            match self.next_visible_at() {
                Some(at) => drop(timeout_at(at, arrival).await),
                None => arrival.await,
            }
        }
    }

    fn next_visible_at(&self) -> Option<Instant> {
        let now = Instant::now();
        // Timers have a resolution of 1 ms, so wait 1 ms longer.
        let later = |waiting: &Waiting| (waiting.visible_at > now).then_some(waiting.visible_at);
        self.lock().waiting.values().filter_map(later).min().map(|at| at + Duration::from_millis(1))
    }

    fn take(&self) -> Vec<Received> {
        let mut state = self.lock();
        let mut places = state.visible(self.is_fifo);
        if !self.is_fifo {
            for place in (1..places.len()).rev() {
                let other = self.chance.between(0..=place as u64);
                places.swap(place, usize::try_from(other).unwrap_or(place));
            }
        }
        // Small batches let invocations run in parallel. Large ones give batch plans of several commands.
        let most = if self.chance.between(0..=1) == 0 { 2 } else { BATCH_MAX };
        places.truncate(usize::try_from(self.chance.between(1..=most)).unwrap_or(1));
        places.into_iter().filter_map(|place| self.hand_out(&mut state, place)).collect()
    }

    fn hand_out(&self, state: &mut State, place: u64) -> Option<Received> {
        if state.waiting.get(&place)?.receive_count >= self.receive_count_max {
            let dead = state.waiting.remove(&place)?.message;
            if POISON.contains(&dead.body.as_str()) {
                // An operator inspects the message and discards it.
                state.poison.1 += 1;
            } else {
                self.history.given_up(&dead);
                state.dead.push(dead);
            }
            return None;
        }
        state.receipts += 1;
        let receipt = state.receipts;
        let waiting = state.waiting.get_mut(&place)?;
        waiting.receive_count += 1;
        waiting.receipt = receipt;
        let twice =
            !self.is_fifo && self.chance.strikes(self.duplicates, || "a message was handed out twice".to_owned());
        if !twice {
            waiting.visible_at = Instant::now() + VISIBILITY_TIMEOUT;
        }
        Some(Received {
            id: waiting.id.clone(),
            receipt_handle: format!("{place}.{receipt}"),
            message: waiting.message.clone(),
            receive_count: waiting.receive_count,
        })
    }

    /// Deletes a message, if the receipt handle is valid.
    pub(crate) fn delete(&self, receipt_handle: &str) {
        let comes_again = self.chance.strikes(self.duplicates / 4, || "a deleted message comes again".to_owned());
        let mut state = self.lock();
        if let Some(place) = state.place_of(receipt_handle, self.is_fifo)
            && !comes_again
        {
            state.waiting.remove(&place);
            drop(state);
            self.arrived.notify_waiters();
        }
    }

    /// Redrives the dead letters, under new message ids.
    pub(crate) fn redrive(&self) {
        let mut state = self.lock();
        for message in std::mem::take(&mut state.dead) {
            state.put(message);
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Sends an unreadable message, behind the latest message.
    pub(crate) fn poison(&self) {
        let mut state = self.lock();
        let Some(last) = state.last.clone() else { return };
        let place = usize::try_from(self.chance.between(0..=1)).unwrap_or_default();
        let body = POISON.get(place).copied().unwrap_or_default().to_owned();
        state.poison.0 += 1;
        state.put(OutgoingMessage { body, deduplication: String::new(), ..last });
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Returns how long unreadable messages may block their order group, one after the other, until they are given up.
    pub(crate) fn held_back(&self) -> Duration {
        let left = u32::try_from(self.poison_forgotten()).unwrap_or(u32::MAX);
        VISIBILITY_TIMEOUT.saturating_mul(self.receive_count_max + 1).saturating_mul(left)
    }

    /// Returns the number of unreadable messages that were neither kept nor given up.
    pub(crate) fn poison_forgotten(&self) -> usize {
        let (sent, given_up) = self.lock().poison;
        sent.saturating_sub(given_up)
    }

    /// Returns the dead letters.
    pub(crate) fn dead(&self) -> Vec<OutgoingMessage> {
        self.lock().dead.clone()
    }

    /// Returns whether no message waits, including hidden ones.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }
}

impl State {
    fn put(&mut self, message: OutgoingMessage) {
        self.sent += 1;
        let id = uuid::Builder::from_random_bytes(random::bytes()).into_uuid().to_string();
        let waiting = Waiting { id, message, visible_at: Instant::now(), receive_count: 0, receipt: 0 };
        self.waiting.insert(self.sent, waiting);
    }

    /// Returns the positions of the messages that can be delivered. In a FIFO queue, a hidden message blocks its order group.
    fn visible(&self, is_fifo: bool) -> Vec<u64> {
        let now = Instant::now();
        let is_hidden = |waiting: &&Waiting| waiting.visible_at > now;
        let blocked: BTreeSet<_> = match is_fifo {
            true => self.waiting.values().filter(is_hidden).map(|waiting| &waiting.message.order_group).collect(),
            false => BTreeSet::new(),
        };
        let visible = self.waiting.iter().filter(|(_, waiting)| !is_hidden(waiting));
        visible
            .filter(|(_, waiting)| !blocked.contains(&waiting.message.order_group))
            .map(|(place, _)| *place)
            .collect()
    }

    fn place_of(&self, receipt_handle: &str, is_fifo: bool) -> Option<u64> {
        let (place, receipt) = receipt_handle.split_once('.')?;
        let (place, receipt): (u64, u64) = (place.parse().ok()?, receipt.parse().ok()?);
        // A standard queue also accepts the receipt handle of an earlier delivery.
        self.waiting.get(&place).filter(|waiting| !is_fifo || waiting.receipt == receipt).map(|_| place)
    }
}

#[async_trait]
impl CommandQueue for Queue {
    async fn send(&self, message: &OutgoingMessage) -> Result<(), SendError> {
        if !self.lock().is_deployed {
            let cause = "there is no queue".into();
            return Err(PortError::Unavailable { port: "queue", cause }.into());
        }
        self.history.sent(message);
        let mut state = self.lock();
        let now = Instant::now();
        if self.is_fifo {
            let known = state.known.insert(message.deduplication.clone(), now);
            if let Some(known) = known.filter(|known| now.duration_since(*known) < DEDUPLICATION) {
                state.known.insert(message.deduplication.clone(), known);
                return Ok(());
            }
        }
        state.put(message.clone());
        state.last = Some(message.clone());
        drop(state);
        self.arrived.notify_waiters();
        Ok(())
    }
}

#[async_trait]
impl MessageDeferral for Queue {
    async fn defer(&self, receipt_handle: &str, delay: Duration) -> Result<(), PortError> {
        let mut state = self.lock();
        let place = state.place_of(receipt_handle, self.is_fifo);
        let Some(waiting) = place.and_then(|place| state.waiting.get_mut(&place)) else {
            let cause = format!("no message has the receipt handle {receipt_handle}").into();
            return Err(PortError::Unavailable { port: "queue", cause });
        };
        waiting.visible_at = Instant::now() + delay;
        drop(state);
        self.arrived.notify_waiters();
        Ok(())
    }
}
