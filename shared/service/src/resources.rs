//! The resources of this service. This is the only list of them: the routes, the scopes, the gateway and the ingested kinds follow
//! from it.

use kernel::aggregate::Aggregate;
use kernel::envelope::{EnvelopeError, RawEnvelope};
use kernel::ids::{AggregateKey, Kind};
use kernel::ports::Snapshot;
use kernel::projection::Projection;
use resource::{Description, Resource, Visitor};

resource::serve!(users::User, orders::Order);

/// Returns the resource of a kind, as a message or a record names it. `None` if this code does not serve the kind.
#[must_use]
pub fn of_kind(name: Option<&str>) -> Option<&'static Description> {
    RESOURCES.iter().find(|resource| resource.kind.has_name(name))
}

/// Returns the kinds of all resources.
#[must_use]
pub fn kinds() -> Vec<Kind> {
    RESOURCES.iter().map(|resource| resource.kind).collect()
}

/// Returns the resource of a key. `None` if this code does not serve its kind.
#[must_use]
pub fn of_key(key: &AggregateKey) -> Option<&'static Description> {
    RESOURCES.iter().find(|resource| resource.kind == key.kind)
}

/// Returns the view of a stored state. `None` if this code cannot read the state.
#[must_use]
pub fn view(key: &AggregateKey, state: &Snapshot, projection: Projection) -> Option<Snapshot> {
    struct View<'a>(&'a AggregateKey, &'a Snapshot, Projection);
    impl Visitor for View<'_> {
        type Output = Option<Snapshot>;
        fn visit<R: Resource>(self) -> Option<Snapshot> {
            Some(Aggregate::<R>::decode(Some(self.1)).ok()?.view(self.0, self.2))
        }
    }
    visit(of_key(key)?, View(key, state, projection)).flatten()
}

/// Checks whether this code can read a message of any resource.
pub fn readable(message: &str) -> Result<(), EnvelopeError> {
    struct Typed(RawEnvelope);
    impl Visitor for Typed {
        type Output = Result<(), EnvelopeError>;
        fn visit<R: Resource>(self) -> Self::Output {
            self.0.typed::<R>().map(drop)
        }
    }
    let envelope = RawEnvelope::read(message)?;
    let kind = envelope.kind.clone();
    let unknown = || EnvelopeError::UnknownKind(kind.clone());
    let resource = of_kind(kind.as_deref()).ok_or_else(unknown)?;
    visit(resource, Typed(envelope)).ok_or_else(unknown)?
}
