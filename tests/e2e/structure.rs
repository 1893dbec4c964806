//! Checks that imports between modules make no circle, in each crate and in the CDK application.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::harness::program::{files, workspace};

/// The folders with the modules of one crate each, and of the CDK application. The simulation is left out: its modules share one
/// world, and import each other.
const ROOTS: [&str; 16] = [
    "cdk/lib",
    "ingest-fn/src",
    "lith-fn/src",
    "read-fn/src",
    "shared/adapters/src",
    "shared/kernel/src",
    "shared/resource/derive/src",
    "shared/resource/src",
    "shared/service/src",
    "shared/src",
    "tests/checker/src",
    "tools/bench/src",
    "tools/local/src",
    "tools/ops/src",
    "tools/cost/src",
    "write-fn/src",
];

/// A module, as its path: `["migrate", "plan"]`. The root of a crate has an empty one.
type Module = Vec<String>;

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for root in ROOTS {
        let folder = workspace().join(root);
        let ending = if root.starts_with("cdk/") { "ts" } else { "rs" };
        let modules: BTreeMap<Module, String> = files(&folder, ending)
            .into_iter()
            .map(|file| (module(&folder, &file), fs::read_to_string(&file).unwrap()))
            .collect();
        assert!(!modules.is_empty(), "{root} has no modules");
        let imports = modules.iter().map(|(from, text)| (from.clone(), imports(from, text, &modules)));
        circles.extend(circle(imports.collect()).into_iter().map(|(from, to)| format!("{root}: {from:?} -> {to:?}")));
    }
    assert!(circles.is_empty(), "these imports are part of a circle, or lead to one: {circles:#?}");
}

#[test]
fn a_circle_is_found_and_a_module_with_its_children_is_none() {
    let modules = [
        (vec!["a".to_owned()], "use crate::b::X;"),
        (vec!["b".to_owned()], "use super::c::{Y, Z};"),
        (vec!["c".to_owned()], "fn f() -> crate::a::W {}"),
        (vec!["c".to_owned(), "child".to_owned()], "use super::V;\nuse super::super::d::U;"),
        (vec!["d".to_owned()], "// use crate::c::child;\n#[cfg(test)]\nmod tests { use crate::a; }"),
    ];
    let modules: BTreeMap<_, _> = modules.into_iter().map(|(module, text)| (module, text.to_owned())).collect();
    let all: BTreeMap<_, _> =
        modules.iter().map(|(from, text)| (from.clone(), imports(from, text, &modules))).collect();
    assert_eq!(all[&vec!["c".to_owned(), "child".to_owned()]], BTreeSet::from([vec!["d".to_owned()]]));
    let found: Vec<_> = circle(all).into_iter().map(|(from, to)| (from.concat(), to.concat())).collect();
    assert_eq!(found, [("a", "b"), ("b", "c"), ("c", "a")].map(|(from, to)| (from.to_owned(), to.to_owned())));
}

fn module(folder: &Path, file: &Path) -> Module {
    let path = file.strip_prefix(folder).unwrap().with_extension("");
    let names = path.iter().map(|name| name.to_str().unwrap().to_owned());
    names.filter(|name| name != "lib").collect()
}

/// The modules that a module imports. A module and its children are one: imports between them do not count.
fn imports(from: &Module, text: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths = lines.flat_map(|line| paths(from, line));
    let is_related = |to: &Module| to.starts_with(from) || from.starts_with(to);
    paths.filter_map(|path| resolve(path, modules)).filter(|to| !is_related(to)).collect()
}

/// The paths in a line, from the root of the crate: of `crate::…` and `super::…`, and of imports in TypeScript.
fn paths(from: &Module, line: &str) -> Vec<Module> {
    let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let rust = words.filter_map(|word| {
        let mut names: Vec<_> = word.split("::").map(str::to_owned).collect();
        let supers = names.iter().take_while(|name| *name == "super").count();
        match names.first()?.as_str() {
            "crate" => Some(names.split_off(1)),
            "super" => {
                let above = from.get(..from.len().checked_sub(supers)?)?.to_vec();
                Some([above, names.split_off(supers)].concat())
            }
            _ => None,
        }
    });
    let typescript = line.split(" from './").skip(1).filter_map(|rest| rest.split('\'').next());
    rust.chain(typescript.map(|name| vec![name.to_owned()])).collect()
}

/// The module that a path leads to, without the names behind it.
fn resolve(mut path: Module, modules: &BTreeMap<Module, String>) -> Option<Module> {
    while !path.is_empty() {
        if modules.contains_key(&path) {
            return Some(path);
        }
        path.pop();
    }
    None
}

/// The imports that are left when the modules that import nothing are removed, again and again.
fn circle(mut imports: BTreeMap<Module, BTreeSet<Module>>) -> Vec<(Module, Module)> {
    loop {
        let done: Vec<_> = imports.iter().filter(|(_, to)| to.is_empty()).map(|(from, _)| from.clone()).collect();
        if done.is_empty() {
            break;
        }
        for module in done {
            imports.remove(&module);
            for to in imports.values_mut() {
                to.remove(&module);
            }
        }
    }
    imports.into_iter().flat_map(|(from, to)| to.into_iter().map(move |to| (from.clone(), to))).collect()
}
