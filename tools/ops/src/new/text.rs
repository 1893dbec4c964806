//! The files of a new resource.

use std::collections::BTreeSet;

use super::field::{Field, Type};
use super::machine::{Action, FIELD, Machine};
use super::{Plan, camel_case};

impl Plan {
    /// Returns the paths in the crate, and the texts.
    pub(super) fn files(&self) -> [(String, String); 3] {
        [
            ("Cargo.toml".to_owned(), self.manifest()),
            ("src/lib.rs".to_owned(), self.source()),
            (format!("tests/{}.rs", self.crate_name()), self.tests()),
        ]
    }

    fn manifest(&self) -> String {
        let json = if self.machine.is_some() { "serde_json.workspace = true\n" } else { "" };
        format!(
            "[package]
name = \"{}\"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish.workspace = true
description = \"A resource: {}.\"

[lints]
workspace = true

[dependencies]
resource.workspace = true
serde.workspace = true

[dev-dependencies]
resource = {{ workspace = true, features = [\"testing\"] }}
{json}",
            self.crate_name(),
            self.collection
        )
    }

    fn source(&self) -> String {
        let fields: String = self.fields.iter().map(of_field).collect();
        let enums: String = self.fields.iter().filter_map(|field| of_enum(field, &self.name)).collect();
        let machine = self.machine.as_ref().map(|machine| of_machine(machine, &self.name)).unwrap_or_default();
        format!(
            "//! A resource: {collection}.

{imports}
/// A {name}.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Resource)]
#[resource({attributes})]
pub struct {type_name} {{
{fields}}}
{enums}{machine}",
            collection = self.collection,
            imports = self.imports(),
            name = self.name.replace('_', " "),
            attributes = self.attributes(),
            type_name = self.type_name(),
        )
    }

    fn imports(&self) -> String {
        let mut values: BTreeSet<_> = self.fields.iter().filter_map(|field| field.ty.import()).collect();
        let mut machine = "";
        if self.machine.is_some() {
            values.insert("Choice");
            machine = "use resource::machine::StateMachine;\n";
        }
        let values: Vec<_> = values.into_iter().collect();
        let values = match values.as_slice() {
            [] => String::new(),
            [one] => format!("use resource::value::{one};\n"),
            several => format!("use resource::value::{{{}}};\n", several.join(", ")),
        };
        format!("use resource::Resource;\n{machine}{values}use serde::{{Deserialize, Serialize}};\n")
    }

    fn attributes(&self) -> String {
        let mut attributes = vec![format!("kind = \"{}\"", self.kind), format!("collection = \"{}\"", self.collection)];
        if self.machine.is_some() {
            attributes.push(format!("machine = \"{FIELD}: {}\"", camel_case(FIELD)));
            attributes.push("machine_list = \"i2\"".to_owned());
        }
        attributes.join(", ")
    }

    fn tests(&self) -> String {
        let (krate, type_name) = (self.crate_name(), self.type_name());
        let Some(machine) = &self.machine else {
            return format!("//! The common tests of a resource.\n\nresource::test_resource!({krate}::{type_name});\n");
        };
        let cases: String = machine.actions.iter().filter_map(|action| case(machine, action)).collect();
        let mut uses = [
            format!("use {krate}::{type_name};\n"),
            "use resource::Resource as _;\n".to_owned(),
            "use resource::testing::cases::{Given, act, create, given};\n".to_owned(),
            "use resource::testing::full_body;\n".to_owned(),
            "use serde_json::json;\n".to_owned(),
        ];
        uses.sort();
        let uses = uses.concat();
        format!(
            "//! The common tests of a resource, and the transitions of its actions.

{uses}
resource::test_resource!({type_name});

/// Returns an item after some actions.
fn after<const N: usize>(actions: [&'static str; N]) -> Given<{type_name}> {{
    let made = create(full_body({type_name}::FIELDS, 1));
    given([vec![made], actions.map(act).to_vec()].concat())
}}
{cases}"
        )
    }
}

fn of_field(field: &Field) -> String {
    let Field { name, ty, attributes } = field;
    let attributes = match attributes.as_slice() {
        [] => String::new(),
        some => format!("    #[resource({})]\n", some.join(", ")),
    };
    format!("    /// The {}.\n{attributes}    pub {name}: {},\n", name.replace('_', " "), ty.name())
}

fn of_enum(field: &Field, resource: &str) -> Option<String> {
    let Type::Enum(name, variants) = &field.ty else { return None };
    let doc = format!("/// The {} of a {}.", field.name.replace('_', " "), resource.replace('_', " "));
    let has_default = field.attributes.iter().any(|attribute| attribute == "default");
    Some(enumeration(&doc, name, variants, has_default))
}

/// Returns the source of an enum. If it has a default, that is the first variant.
fn enumeration(doc: &str, name: &str, variants: &[String], has_default: bool) -> String {
    let default = if has_default { "Default, " } else { "" };
    let variants: Vec<String> = variants
        .iter()
        .enumerate()
        .map(|(index, variant)| {
            let mark = if has_default && index == 0 { "    #[default]\n" } else { "" };
            format!("    /// The value `{variant}`.\n{mark}    {},\n", camel_case(variant))
        })
        .collect();
    let variants = variants.concat();
    format!("\n{doc}\n#[derive(Debug, Clone, Copy, {default}PartialEq, Choice)]\npub enum {name} {{\n{variants}}}\n")
}

fn of_machine(machine: &Machine, name: &str) -> String {
    let (name, state) = (name.replace('_', " "), camel_case(FIELD));
    let states = enumeration(&format!("/// The {FIELD} of a {name}."), &state, &machine.states, true);
    let actions: Vec<String> = machine
        .actions
        .iter()
        .map(|action| format!("    /// The action `{}`.\n    {},\n", action.name, camel_case(&action.name)))
        .collect();
    let arms: Vec<String> = machine
        .actions
        .iter()
        .map(|action| {
            let from: Vec<_> = action.from.iter().map(|from| format!("Self::{}", camel_case(from))).collect();
            let (from, to) = (from.join(" | "), camel_case(&action.to));
            format!("            (Action::{}, {from}) => Some(Self::{to}),\n", camel_case(&action.name))
        })
        .collect();
    let (actions, arms) = (actions.concat(), arms.concat());
    // Without this arm, the match is complete only if each action fits each state.
    let is_complete = machine.actions.iter().all(|action| action.from.len() == machine.states.len());
    let rest = if is_complete { "" } else { "            _ => None,\n" };
    format!(
        "{states}
/// The actions on a {name}.
#[derive(Debug, Clone, Copy, PartialEq, Choice)]
pub enum Action {{
{actions}}}

impl StateMachine for {state} {{
    type Action = Action;

    fn next(self, action: Action) -> Option<Self> {{
        match (action, self) {{
{arms}{rest}        }}
    }}
}}
"
    )
}

/// Returns the source of an action's test. The test begins with the actions that lead to a state that allows it.
fn case(machine: &Machine, action: &Action) -> Option<String> {
    let path: Vec<_> = machine.path_to(action)?.iter().map(|action| format!("\"{action}\"")).collect();
    let Action { name, to, .. } = action;
    Some(format!(
        "
#[test]
fn after_{name}_it_is_{to}() {{
    after([{}]).when(act(\"{name}\")).shows(&json!({{\"{FIELD}\": \"{to}\"}}));
}}
",
        path.join(", ")
    ))
}
