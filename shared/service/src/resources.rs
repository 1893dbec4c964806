//! The resources of this service. This list is the only one: routes, scopes, the gateway and what is ingested follow from it.

use resource::Description;

resource::serve!(users::User);

/// The resource with this kind, as a message or a record names it; `None` for a kind that this code does not serve.
#[must_use]
pub fn of_kind(name: Option<&str>) -> Option<&'static Description> {
    RESOURCES.iter().find(|resource| resource.kind.has_name(name))
}
