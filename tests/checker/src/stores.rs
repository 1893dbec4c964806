//! Rules for the stores at rest.

use std::collections::BTreeMap;

use crate::index::Index;
use crate::report::{Report, Rule};

pub(crate) fn check(index: &Index<'_>, report: &mut Report) {
    let mut holders: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    for user in &index.history.rest.users {
        if user.written != user.shown {
            let detail = format!("{} is {:?}, but {:?} is shown", user.id, user.written, user.shown);
            report.violated(Rule::StoresAgree, detail, &[]);
        }
        let fields = user.written.as_ref().and_then(|stored| stored.fields.as_ref());
        if let Some(email) = fields.and_then(|fields| fields.email.as_ref()) {
            holders.entry((&user.tenant, email.to_lowercase())).or_default().push(&user.id);
        }
    }
    for ((tenant, email), users) in holders {
        if users.len() > 1 {
            report.violated(Rule::EmailsUnique, format!("{users:?} of {tenant} all have {email}"), &[]);
        }
    }
}
