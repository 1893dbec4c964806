//! The resources of a run: all that the service serves. A trait object hides the type of each, so the rest of the simulation does
//! not depend on the list of resources.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use kernel::aggregate::Aggregate;
use kernel::clock::StampClock;
use kernel::ids::{AggregateKey, Kind};
use kernel::ports::{RecordWriter, Snapshot, UniqueKey};
use kernel::query::{ListScope, Lists, Queries};
use kernel::seal::KeyRing;
use kernel::submit::{Preference, Request, SubmitAnswer, SubmitError, Submitter};
use resource::{Description, Parameters, Resource, Visitor};
use service::assembly::{Assembly, DirectPorts, QueuePorts, ReadPorts, WriteRoute};
use service::resources::{RESOURCES, visit};

use crate::asked::Asked;
use crate::history::Invariant;
use crate::model::{self, Item};

/// A resource without its type.
pub(crate) trait AnyResource: Debug + Send + Sync {
    /// Returns the description of the resource.
    fn description(&self) -> Description;

    /// Builds the part of an environment that answers queries.
    fn read_side(&self, assembly: &Assembly, ports: ReadPorts, keys: Arc<KeyRing>) -> ReadSide;

    /// Builds the part of an environment that accepts commands.
    fn submitter(&self, assembly: &Assembly, parts: WriteParts) -> Box<dyn AnySubmitter>;

    /// Returns the scope of the list of all items, if the resource has one.
    fn list_of_all(&self) -> Option<ListScope>;

    /// Returns whether the command must be judged after the earlier commands of its session.
    fn is_ordered(&self, asked: &Asked) -> bool;

    /// Returns the unique keys of a stored state.
    fn unique_keys(&self, key: &AggregateKey, state: &Snapshot) -> Vec<UniqueKey>;

    /// Returns all violations by a stored item and by the records of its commands.
    fn wrong(&self, item: &Item<'_>) -> Vec<(Invariant, String)>;

    /// Returns the resource's kind.
    fn kind(&self) -> Kind {
        self.description().kind
    }
}

/// The queries of one resource.
#[derive(Debug)]
pub(crate) struct ReadSide {
    pub(crate) queries: Queries,
    pub(crate) lists: Lists,
}

/// The parts that all submitters of one environment share.
#[derive(Debug, Clone)]
pub(crate) struct WriteParts {
    pub(crate) route: WriteRoute<QueuePorts, DirectPorts>,
    pub(crate) records: Arc<dyn RecordWriter>,
    /// The clock for stamps. All resources share it, so that the stamps of an environment never decrease.
    pub(crate) stamps: Arc<StampClock>,
    pub(crate) keys: Arc<KeyRing>,
}

/// Accepts commands of one resource.
#[async_trait]
pub(crate) trait AnySubmitter: Debug + Send + Sync {
    /// Accepts a command that a client may send again.
    async fn take_in(&self, request: &Request<Asked>, preference: Preference) -> Result<SubmitAnswer, SubmitError>;
}

/// Returns all resources, in the order of the service's list.
pub(crate) fn all() -> &'static [&'static dyn AnyResource] {
    static ALL: LazyLock<Vec<&'static dyn AnyResource>> =
        LazyLock::new(|| RESOURCES.iter().filter_map(|resource| visit(resource, Meet)).collect());
    &ALL
}

/// Returns the resource of an item. The items' numbers cycle through the resources.
#[expect(clippy::expect_used, reason = "a service without resources does not compile")]
pub(crate) fn of_item(item: u8) -> &'static dyn AnyResource {
    all().get(usize::from(item) % all().len()).copied().expect("a number below the length has a resource")
}

/// Returns the resource of a key.
pub(crate) fn of_key(key: &AggregateKey) -> Option<&'static dyn AnyResource> {
    all().iter().copied().find(|resource| resource.kind() == key.kind)
}

struct Meet;

impl Visitor for Meet {
    type Output = &'static dyn AnyResource;

    fn visit<R: Resource>(self) -> Self::Output {
        const { &Of::<R>(PhantomData) }
    }
}

#[derive(Debug)]
struct Of<R>(PhantomData<R>);

impl<R: Resource> AnyResource for Of<R> {
    fn description(&self) -> Description {
        Description::of::<R>()
    }

    fn read_side(&self, assembly: &Assembly, ports: ReadPorts, keys: Arc<KeyRing>) -> ReadSide {
        let lists = assembly.lists::<R>(ports.lists.clone(), keys.clone());
        ReadSide { queries: assembly.queries::<R>(ports, keys), lists }
    }

    fn submitter(&self, assembly: &Assembly, parts: WriteParts) -> Box<dyn AnySubmitter> {
        let WriteParts { route, records, stamps, keys } = parts;
        Box::new(assembly.submitter::<R>(route, &records, stamps, keys))
    }

    fn list_of_all(&self) -> Option<ListScope> {
        R::filter(&mut Parameters::default()).ok()
    }

    fn is_ordered(&self, asked: &Asked) -> bool {
        R::is_ordered(&asked.command::<R>())
    }

    fn unique_keys(&self, key: &AggregateKey, state: &Snapshot) -> Vec<UniqueKey> {
        let state = Aggregate::<R>::decode(Some(state)).ok().and_then(|aggregate| aggregate.state);
        state.map(|state| R::unique_keys(&key.tenant, &state)).unwrap_or_default()
    }

    fn wrong(&self, item: &Item<'_>) -> Vec<(Invariant, String)> {
        model::wrong::<R>(item)
    }
}

#[async_trait]
impl<R: Resource> AnySubmitter for Submitter<R> {
    async fn take_in(&self, request: &Request<Asked>, preference: Preference) -> Result<SubmitAnswer, SubmitError> {
        let typed = Request {
            tenant: request.tenant.clone(),
            subject: request.subject.clone(),
            method: request.method,
            path: request.path.clone(),
            idempotency_key: request.idempotency_key.clone(),
            aggregate: request.aggregate,
            expected: request.expected,
            excluded: request.excluded.clone(),
            token: request.token.clone(),
            traceparent: None,
            command: request.command.command::<R>(),
        };
        self.submit(typed, preference).await
    }
}
