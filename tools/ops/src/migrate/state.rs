//! The state of a migration: a note in the write table, with the lease of the run that performs it.

use std::time::Duration;

use adapters::dynamo::SnapshotTable;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, oneshot};
use tokio::time::sleep;

use crate::notes::{decode, encode};
use crate::output::Failure;
use crate::target::Target;
use service::plan::{Step, steps, steps_back};

/// The name of the note.
const BOOKMARK: &str = "migration";

/// A migration: the one under way, or the last one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Migration {
    pub(crate) id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    /// The stage at which it turned back, if it did.
    pub(crate) turned_back_at: Option<String>,
    /// The next step, or the one under way. `None` if all are done.
    pub(crate) step: Option<String>,
    pub(crate) began_at: Timestamp,
    pub(crate) cut_over_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    /// The lease of the run that performs it.
    pub(crate) lease: Option<Lease>,
}

/// The time until which other runs stay away. The owner renews it as long as it lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) owner: String,
    pub(crate) until: Timestamp,
}

impl Migration {
    /// Returns a migration at its first step.
    pub(crate) fn new(from: &str, to: &str) -> Result<Self, Failure> {
        let mut migration = Self {
            id: uuid::Uuid::now_v7().to_string(),
            from: from.to_owned(),
            to: to.to_owned(),
            turned_back_at: None,
            step: None,
            began_at: Timestamp::now(),
            cut_over_at: None,
            ended_at: None,
            lease: None,
        };
        migration.begin()?;
        Ok(migration)
    }

    /// Moves to the first step.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        let first = self.steps()?.first().map(ToString::to_string);
        self.go_to(first);
        Ok(())
    }

    /// Loads the last migration.
    pub(crate) async fn load(target: &Target) -> Result<Option<Self>, Failure> {
        Ok(read(&target.states()?.snapshots()).await?.map(|(migration, _)| migration))
    }

    /// Returns whether the migration is under way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.ended_at.is_none()
    }

    /// Returns all steps, including those that are done.
    pub(crate) fn steps(&self) -> Result<Vec<Step>, Failure> {
        Ok(match &self.turned_back_at {
            None => steps(&self.from, &self.to)?,
            Some(at) => steps_back(&self.from, &self.to, at)?,
        })
    }

    /// Returns the next step, and those after it.
    pub(crate) fn left(&self) -> Result<Vec<Step>, Failure> {
        let Some(name) = &self.step else { return Ok(Vec::new()) };
        let mut steps = self.steps()?;
        let unknown = || {
            Failure::Untimely(format!(
                "no step has the name `{name}`: use the version of `watershed` that began the migration"
            ))
        };
        let index = steps.iter().position(|step| step.to_string() == *name).ok_or_else(unknown)?;
        Ok(steps.split_off(index))
    }

    /// Moves to the step after the first of `left`. After the last step, the migration ends.
    pub(crate) fn advance(&mut self, left: &[Step]) {
        self.go_to(left.get(1).map(ToString::to_string));
    }

    fn go_to(&mut self, step: Option<String>) {
        self.ended_at = step.is_none().then(Timestamp::now);
        self.step = step;
    }

    /// Returns the lease, if it has not expired.
    pub(crate) fn live_lease(&self) -> Option<&Lease> {
        self.lease.as_ref().filter(|lease| lease.until > Timestamp::now())
    }
}

/// Reads the note. Also returns its stored form, so that a write can check that the note has not changed.
async fn read(notes: &SnapshotTable) -> Result<Option<(Migration, Vec<u8>)>, Failure> {
    let Some(bytes) = notes.bookmark(BOOKMARK).await? else { return Ok(None) };
    Ok(Some((decode("write store", BOOKMARK, &bytes)?, bytes)))
}

/// A migration whose lease this run holds.
pub(crate) struct HeldMigration {
    notes: SnapshotTable,
    owner: String,
    lease: Duration,
    /// The migration, and its stored form.
    current: Mutex<(Migration, Vec<u8>)>,
}

impl HeldMigration {
    /// Takes the lease of the migration that `choose` returns. Fails if another run holds a lease.
    pub(crate) async fn take(
        target: &Target,
        owner: String,
        lease: Duration,
        choose: impl FnOnce(Option<Migration>) -> Result<Migration, Failure>,
    ) -> Result<Self, Failure> {
        let notes = target.states()?.snapshots();
        let (stored, bytes) = read(&notes).await?.unzip();
        if let Some(other) = stored.as_ref().and_then(Migration::live_lease) {
            return Err(Failure::Untimely(format!(
                "{} is running the migration, until {} or longer: wait until it ends; nothing was changed",
                other.owner, other.until,
            )));
        }
        let mut chosen = choose(stored)?;
        chosen.lease = Some(Lease { owner: owner.clone(), until: after(lease) });
        let next = encode(&chosen);
        if !notes.replace_bookmark(BOOKMARK, bytes.as_deref(), next.clone()).await? {
            return Err(Failure::Overtaken);
        }
        Ok(Self { notes, owner, lease, current: Mutex::new((chosen, next)) })
    }

    /// Returns the migration in its present state.
    pub(crate) async fn migration(&self) -> Migration {
        self.current.lock().await.0.clone()
    }

    /// Stores a change, and renews the lease. Fails if another run has taken over.
    pub(crate) async fn change(&self, edit: impl FnOnce(&mut Migration)) -> Result<(), Failure> {
        self.replace(|migration| {
            edit(migration);
            migration.lease = Some(Lease { owner: self.owner.clone(), until: after(self.lease) });
        })
        .await
    }

    async fn replace(&self, edit: impl FnOnce(&mut Migration)) -> Result<(), Failure> {
        let mut current = self.current.lock().await;
        let mut next = current.0.clone();
        edit(&mut next);
        let bytes = encode(&next);
        if !self.notes.replace_bookmark(BOOKMARK, Some(&current.1), bytes.clone()).await? {
            return Err(Failure::Overtaken);
        }
        *current = (next, bytes);
        Ok(())
    }

    /// Does the work, and renews the lease meanwhile. Stops the work if the lease is lost; otherwise gives the lease back at the
    /// end.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let (done, is_done) = oneshot::channel::<()>();
        let mut keep = std::pin::pin!(self.keep(is_done));
        let worked = tokio::select! {
            worked = work => worked,
            lost = &mut keep => return Err(lost.err().unwrap_or(Failure::Overtaken)),
        };
        drop(done);
        // This waits for a renewal under way, because otherwise the stored form would be unknown.
        let _ = keep.await;
        // If this fails, the lease expires.
        let _ = self.replace(|migration| migration.lease = None).await;
        worked
    }

    async fn keep(&self, mut is_done: oneshot::Receiver<()>) -> Result<(), Failure> {
        loop {
            tokio::select! {
                _ = &mut is_done => return Ok(()),
                () = sleep(self.lease / 3) => {}
            }
            let renewed = self.change(|_| {}).await;
            // The store may answer again before the lease expires.
            if let Err(failure) = renewed
                && (matches!(failure, Failure::Overtaken) || self.migration().await.live_lease().is_none())
            {
                return Err(failure);
            }
        }
    }
}

fn after(duration: Duration) -> Timestamp {
    later(Timestamp::now(), duration)
}

/// Returns the time plus a duration, or the latest possible time.
pub(crate) fn later(time: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
