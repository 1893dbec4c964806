//! Writes the crate of a new resource, like handwritten code, and adds it to the list.

mod field;
mod machine;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use resource::Description;
use serde::Serialize;
use service::resources::RESOURCES;

use self::field::{Field, Lists};
use self::machine::Machine;
use crate::cli::NewOptions;
use crate::output::{CommandOutput, Failure};

/// The list of resources.
const LIST: &str = "shared/service/src/resources.rs";
/// The manifest that makes their crates available to the list.
const MANIFEST: &str = "shared/service/Cargo.toml";

/// A resource to write.
#[derive(Debug)]
struct Plan {
    collection: String,
    name: String,
    kind: String,
    fields: Vec<Field>,
    machine: Option<Machine>,
}

#[derive(Debug, Serialize)]
struct Report {
    written: Vec<String>,
    changed: [&'static str; 2],
}

pub(crate) fn run(options: &NewOptions) -> Result<CommandOutput, Failure> {
    let plan = Plan::of(options, RESOURCES).map_err(Failure::Wrong)?;
    let root = repository(&options.dir)?;
    let folder = root.join("shared").join(plan.crate_name());
    if folder.exists() {
        return Err(Failure::Wrong(format!("{} already exists: choose another name", folder.display())));
    }
    let (list, manifest) = (root.join(LIST), root.join(MANIFEST));
    let new_list = with_entry(&read(&list)?, &plan)?;
    let new_manifest = with_dependency(&read(&manifest)?, &plan)?;
    // All edits are known to fit before the first file is written.
    let mut written = Vec::new();
    for (name, text) in plan.files() {
        let path = folder.join(name);
        write(&path, &text)?;
        written.push(path.strip_prefix(&root).unwrap_or(&path).display().to_string());
    }
    write(&list, &new_list)?;
    write(&manifest, &new_manifest)?;
    let lines = written
        .iter()
        .map(|path| format!("wrote    {path}"))
        .chain([LIST, MANIFEST].map(|path| format!("changed  {path}")));
    let report = Report { written: written.clone(), changed: [LIST, MANIFEST] };
    let output = CommandOutput::new(true, &report, lines.collect());
    Ok(output.with_next_step(format!(
        "run `make run` to serve /{}, and `make test` to write its golden files and shared/service.json",
        plan.collection
    )))
}

impl Plan {
    /// Reads the options, and checks them against the served resources. An error is one line.
    fn of(options: &NewOptions, served: &[Description]) -> Result<Self, String> {
        let collection = collection(&options.collection, served)?;
        let name = options.name.clone().unwrap_or_else(|| singular(&collection));
        variant(&name)?;
        if served.iter().any(|resource| resource.name == name) {
            return Err(format!("another resource is called {name}: choose another --name"));
        }
        let machine = Machine::of(&options.actions)?;
        let mut lists = Lists::of(&options.fields, machine.is_some());
        let mut fields: Vec<Field> = Vec::new();
        for given in &options.fields {
            let field = Field::of(given, &mut lists)?;
            let is_state = machine.is_some() && field.name == machine::FIELD;
            if is_state || fields.iter().any(|other| other.name == field.name) {
                return Err(format!("two fields have the name {}: rename one", field.name));
            }
            fields.push(field);
        }
        if fields.is_empty() {
            return Err("a resource has at least one field: add --field name:text".to_owned());
        }
        Ok(Self { kind: kind(options.kind.as_deref(), &collection, served)?, collection, name, fields, machine })
    }

    /// Returns the name of the crate, which is an identifier of Rust.
    fn crate_name(&self) -> String {
        self.collection.replace('-', "_")
    }

    /// Returns the name of the type, for example `Room`.
    fn type_name(&self) -> String {
        camel_case(&self.name)
    }
}

/// Converts a name to camel case, for example `sea_view` to `SeaView`.
fn camel_case(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    name.split('_').map(capital).collect()
}

/// Checks that the name is a path segment that nothing else uses.
fn collection(name: &str, served: &[Description]) -> Result<String, String> {
    let is_segment = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.ends_with('-');
    if !is_segment {
        return Err(format!(
            "`{}` is not a path segment: use a-z, 0-9 and -, with a letter first and no - last",
            name.escape_debug()
        ));
    }
    if resource::is_reserved(name) {
        return Err(format!("/{name} is reserved by the service: choose another name"));
    }
    if served.iter().any(|resource| resource.collection == name) {
        return Err(format!("/{name} is already served: choose another name"));
    }
    word(&name.replace('-', "_"))?;
    Ok(name.to_owned())
}

/// Checks that the name is an identifier of Rust, because a crate, a type and fields are named after it.
fn word(name: &str) -> Result<(), String> {
    let is_snake = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    match is_snake && syn::parse_str::<syn::Ident>(name).is_ok() {
        true => Ok(()),
        false => Err(format!("`{}` is not a Rust name: use a-z, 0-9 and _, and no keyword", name.escape_debug())),
    }
}

/// Checks that camel case preserves the name: types and variants are named in camel case, and clients see snake case.
fn variant(name: &str) -> Result<(), String> {
    word(name)?;
    match name.split('_').all(|part| part.starts_with(|first: char| first.is_ascii_lowercase())) {
        true => Ok(()),
        false => Err(format!(
            "`{}` is ambiguous in camel case: begin each part between _ with a letter",
            name.escape_debug()
        )),
    }
}

fn singular(collection: &str) -> String {
    let name = collection.replace('-', "_");
    match name.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => name.strip_suffix('s').map_or(name.clone(), str::to_owned),
    }
}

/// Returns the requested letters, or the first ones that no other resource has.
fn kind(wanted: Option<&str>, collection: &str, served: &[Description]) -> Result<String, String> {
    let is_free = |letters: &str| served.iter().all(|resource| resource.kind.letters() != letters);
    if let Some(wanted) = wanted {
        let is_kind = (1..=2).contains(&wanted.len()) && wanted.bytes().all(|byte| byte.is_ascii_uppercase());
        return match (is_kind, is_free(wanted)) {
            (true, true) => Ok(wanted.to_owned()),
            (true, false) => Err(format!("another resource has the kind {wanted}: choose another --kind")),
            (false, _) => Err(format!("`{}` is not a kind: use one or two letters of A-Z", wanted.escape_debug())),
        };
    }
    let letters: Vec<_> = collection.to_ascii_uppercase().chars().filter(char::is_ascii_uppercase).collect();
    let first = letters.first().copied().unwrap_or('X');
    let pairs = letters.iter().skip(1).copied().chain('A'..='Z').map(|second| format!("{first}{second}"));
    let mut candidates = std::iter::once(first.to_string()).chain(pairs);
    let taken = || format!("every kind that begins with {first} is taken: choose another one with --kind");
    candidates.find(|letters| is_free(letters)).ok_or_else(taken)
}

/// Returns the root of a checkout of this project. It must have no uncommitted changes, so that you can review and undo the new
/// files.
fn repository(dir: &Path) -> Result<PathBuf, Failure> {
    let root = fs::canonicalize(dir).map_err(|error| Failure::Wrong(format!("{}: {error}", dir.display())))?;
    if ![LIST, MANIFEST].into_iter().all(|file| root.join(file).is_file()) {
        return Err(Failure::Wrong(format!(
            "{} is not a checkout of Watershed: change to one, or give --dir",
            root.display()
        )));
    }
    let status = Command::new("git").arg("-C").arg(&root).args(["status", "--porcelain"]).output();
    match status {
        Ok(status) if status.status.success() && status.stdout.is_empty() => Ok(root),
        Ok(status) if status.status.success() => {
            Err(Failure::Wrong(format!("{} has uncommitted changes: commit or stash them first", root.display())))
        }
        _ => Err(Failure::Wrong(format!(
            "git cannot tell whether {} has uncommitted changes: run `git status` there",
            root.display()
        ))),
    }
}

/// Returns the list with one more entry.
fn with_entry(list: &str, plan: &Plan) -> Result<String, Failure> {
    let entry = format!("{}::{}", plan.crate_name(), plan.type_name());
    let range = list.find("serve!(").and_then(|start| Some((start, start + list.get(start..)?.find(");")?)));
    let Some((start, end)) = range else {
        return Err(Failure::Wrong(format!("{LIST} has no `serve!(…);`: add {entry} by hand")));
    };
    let (before, after) = list.split_at(end);
    let separator =
        if before.get(start + "serve!(".len()..).is_some_and(|listed| listed.trim().is_empty()) { "" } else { ", " };
    Ok(format!("{}{separator}{entry}{after}", before.trim_end().trim_end_matches(',')))
}

/// Returns the manifest with one more dependency, in alphabetical order.
fn with_dependency(manifest: &str, plan: &Plan) -> Result<String, Failure> {
    let name = plan.crate_name();
    let line = format!("{name} = {{ path = \"../{name}\" }}");
    let (mut lines, mut is_in, mut is_done) = (Vec::new(), false, false);
    for known in manifest.lines() {
        if is_in && !is_done && (known.is_empty() || known > line.as_str()) {
            lines.push(line.as_str());
            is_done = true;
        }
        is_in = if known.starts_with('[') { known == "[dependencies]" } else { is_in };
        lines.push(known);
    }
    if is_in && !is_done {
        lines.push(line.as_str());
        is_done = true;
    }
    match is_done {
        true => Ok(lines.join("\n") + "\n"),
        false => Err(Failure::Wrong(format!("{MANIFEST} has no [dependencies]: add {line} by hand"))),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::Wrong(format!("{}: {error}", path.display())))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().map(fs::create_dir_all).transpose();
    let written = folder.and_then(|_| fs::write(path, text));
    written.map_err(|error| Failure::Wrong(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use kernel::ids::Kind;

    use super::*;
    use crate::cli::{Action, Arguments};

    const SERVED: [Description; 2] = [
        Description { kind: Kind::new("U"), collection: "users", name: "user", fields: &[], actions: &[] },
        Description { kind: Kind::new("O"), collection: "orders", name: "order", fields: &[], actions: &[] },
    ];

    pub(super) fn plan(arguments: &[&str]) -> Result<Plan, String> {
        let arguments = [&["watershed", "new"], arguments].concat();
        match Arguments::try_parse_from(arguments).map_err(|error| error.to_string())?.action {
            Action::New(options) => Plan::of(&options, &SERVED),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_and_letters_are_derived_from_the_collection() {
        let of = |collection: &str| {
            let plan = plan(&[collection, "--field", "a:text"]).unwrap();
            (plan.name.clone(), plan.type_name(), plan.kind)
        };
        assert_eq!(of("rooms"), ("room".to_owned(), "Room".to_owned(), "R".to_owned()));
        assert_eq!(of("price-lists"), ("price_list".to_owned(), "PriceList".to_owned(), "P".to_owned()));
        assert_eq!(of("categories"), ("category".to_owned(), "Category".to_owned(), "C".to_owned()));
        // O and U are taken.
        assert_eq!((of("offers").2, of("units").2), ("OF".to_owned(), "UN".to_owned()));
    }

    #[test]
    fn invalid_options_are_refused_in_one_line() {
        let field = ["--field", "a:text"];
        for (arguments, says) in [
            (&["users"][..], "/users is already served"),
            (&["health"], "/health is reserved by the service"),
            (&["_console"], "is not a path segment"),
            (&["Rooms"], "is not a path segment"),
            (&["r/x"], "is not a path segment"),
            (&["match"], "is not a Rust name"),
            (&["rooms", "--name", "user"], "another resource is called user"),
            (&["rooms", "--name", "struct"], "is not a Rust name"),
            (&["rooms", "--kind", "U"], "another resource has the kind U"),
            (&["rooms", "--kind", "rr"], "is not a kind"),
            (&["rooms", "--field", "a:integer"], "two fields have the name a"),
            (&["rooms", "--field", "b:texts"], "`texts` is not a type"),
            (&["rooms", "--field", "b"], "name:type"),
            (&["rooms", "--field", "version:text"], "is reserved by the service"),
            (&["rooms", "--field", "fn:text"], "is not a Rust name"),
            (&["rooms", "--field", "b:text:quick"], "`quick` is not an option of a field"),
            (&["rooms", "--field", "b:text:default"], "cannot have a default"),
            (&["rooms", "--field", "b:integer(9..1)"], "needs a range"),
            (&["rooms", "--field", "b:text(0)"], "needs a length"),
            (&["rooms", "--field", "b:enum(x|x)"], "names x twice"),
            (&["rooms", "--field", "b:enum(a_1|a1)"], "`a_1` is ambiguous"),
            (&["rooms", "--name", "room_"], "is ambiguous"),
            (&["rooms", "--action", "pay:open__x->paid"], "is ambiguous"),
            (&["rooms", "--action", "open"], "name:from->to"),
            (&["rooms", "--action", "pay:open->paid", "--field", "status:text"], "two fields have the name status"),
            (&["rooms", "--action", "pay:open->paid", "--action", "pay:paid->open"], "two actions have the name pay"),
        ] {
            let error = plan(&[arguments, &field].concat()).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{arguments:?}: {error}");
        }
        assert!(plan(&["rooms"]).unwrap_err().contains("at least one field"));
        let many: Vec<_> = ["a", "b", "c", "d", "e"]
            .iter()
            .flat_map(|name| ["--field".to_owned(), format!("{name}:text:list")])
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(plan(&[&["rooms"], many.as_slice()].concat()).unwrap_err().contains("five indexes"));
    }

    #[test]
    fn a_resource_is_added_to_the_list_and_to_the_manifest() {
        let plan = plan(&["price-lists", "--field", "a:text"]).unwrap();
        let list = with_entry("resource::serve!(users::User, orders::Order);\n", &plan).unwrap();
        assert_eq!(list, "resource::serve!(users::User, orders::Order, price_lists::PriceList);\n");
        let manifest =
            "[package]\nname = \"x\"\n\n[dependencies]\norders.workspace = true\nusers.workspace = true\n\n[x]\n";
        let expected = manifest.replace("users.w", "price_lists = { path = \"../price_lists\" }\nusers.w");
        assert_eq!(with_dependency(manifest, &plan).unwrap(), expected);
        assert!(with_dependency("[package]\n", &plan).is_err() && with_entry("", &plan).is_err());
    }
}
