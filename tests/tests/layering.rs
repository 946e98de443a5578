//! The layering table of ARCHITECTURE.md, enforced against `cargo metadata`.
//!
//! What a package may use of the workspace, and which outside crates are confined to which packages.
//! Things that metadata cannot see (clock, environment, sockets) are banned by the `clippy.toml` files.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Package → the workspace packages that its normal and build dependencies may name.
const ALLOWED: &[(&str, &[&str])] = &[
    ("hearth-protocol", &[]),
    ("hearth-sync", &["hearth-protocol"]),
    ("hearth-relay", &["hearth-protocol"]),
    ("hearth-transport", &["hearth-protocol", "hearth-relay"]),
    ("hearth-store", &["hearth-protocol"]),
    ("hearth-inference", &[]),
    ("hearth-voice", &["hearth-inference"]),
    ("hearth-learning", &[]),
    (
        "hearth-core",
        &[
            "hearth-protocol",
            "hearth-sync",
            "hearth-relay",
            "hearth-transport",
            "hearth-store",
            "hearth-inference",
            "hearth-voice",
            "hearth-learning",
        ],
    ),
    ("hearth-api", &["hearth-core"]),
    ("hearth", &["hearth-api", "hearth-core"]),
    ("hearth-desktop", &["hearth-api", "hearth-core"]),
    (
        "hearth-sync-server",
        &["hearth-protocol", "hearth-relay", "hearth-transport"],
    ),
];

/// Packages that may use anything, and that nothing may use.
const OUTSIDE_THE_HOUSE: &[&str] = &["hearth-tests", "hearth-faults", "hearth-benches"];

/// Outside crate → the only packages whose shipped dependencies may name it.
const CONFINED: &[(&str, &[&str])] = &[
    (
        "tokio",
        &[
            "hearth-core",
            "hearth-api",
            "hearth",
            "hearth-desktop",
            "hearth-sync-server",
            "hearth-transport",
            "hearth-tests",
            "hearth-benches",
        ],
    ),
    ("quinn", &["hearth-transport", "hearth-tests", "hearth-benches"]),
    (
        "anyhow",
        &[
            "hearth",
            "hearth-desktop",
            "hearth-sync-server",
            "hearth-tests",
            "hearth-benches",
        ],
    ),
    ("tauri", &["hearth-desktop"]),
    (
        "rusqlite",
        &[
            "hearth-store",
            "hearth-sync-server",
            "hearth-faults",
            "hearth-tests",
            "hearth-benches",
        ],
    ),
    ("keyring", &["hearth-store"]),
    ("reqwest", &["hearth-core", "hearth-tests", "hearth-benches"]),
    (
        "axum",
        &[
            "hearth-api",
            "hearth-sync-server",
            "hearth-tests",
            "hearth-benches",
        ],
    ),
    ("clap", &["hearth", "hearth-sync-server", "hearth-benches"]),
    ("directories", &["hearth", "hearth-desktop"]),
    (
        "candle-core",
        &["hearth-inference", "hearth-benches", "hearth-tests"],
    ),
    (
        "candle-nn",
        &["hearth-inference", "hearth-benches", "hearth-tests"],
    ),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(vec!["--offline".into(), "--locked".into()])
        .exec()
        .unwrap()
}

/// Names of the dependencies that end up in the shipped package: normal and build, not development.
fn shipped_dependencies(package: &Package) -> BTreeSet<String> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.clone())
        .collect()
}

/// Every breach of the table, in words; empty when the house is in order.
fn breaches(packages: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut found = Vec::new();
    for (name, dependencies) in packages {
        let ours = dependencies
            .iter()
            .filter(|dependency| packages.contains_key(*dependency));
        if !OUTSIDE_THE_HOUSE.contains(&name.as_str()) {
            match allowed.get(name.as_str()) {
                None => found.push(format!(
                    "{name} is not in the layering table: add it there and to ARCHITECTURE.md"
                )),
                Some(allowed) => found.extend(
                    ours.filter(|dependency| !allowed.contains(&dependency.as_str()))
                        .map(|dependency| format!("{name} may not use {dependency}")),
                ),
            }
        }
        for (outside, homes) in CONFINED {
            if dependencies.contains(*outside) && !homes.contains(&name.as_str()) {
                found.push(format!(
                    "{name} may not use {outside}, which belongs in {homes:?}"
                ));
            }
        }
    }
    found
}

fn workspace() -> BTreeMap<String, BTreeSet<String>> {
    metadata()
        .workspace_packages()
        .into_iter()
        .map(|package| (package.name.to_string(), shipped_dependencies(package)))
        .collect()
}

#[test]
fn packages_use_only_what_the_table_allows() {
    let found = breaches(&workspace());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_table_names_only_packages_that_exist() {
    let workspace = workspace();
    for (name, _) in ALLOWED {
        assert!(
            workspace.contains_key(*name),
            "{name} is in the table but not in the workspace"
        );
    }
}

#[test]
fn a_breach_is_found() {
    let mut workspace = workspace();
    workspace
        .get_mut("hearth-sync-server")
        .unwrap()
        .insert("hearth-store".into());
    workspace.get_mut("hearth-store").unwrap().insert("tokio".into());
    let found = breaches(&workspace);
    assert!(
        found
            .iter()
            .any(|breach| breach.contains("hearth-sync-server may not use hearth-store"))
    );
    assert!(
        found
            .iter()
            .any(|breach| breach.contains("hearth-store may not use tokio"))
    );
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn accelerators_stay_behind_features_that_are_off_by_default() {
    for package in metadata().workspace_packages() {
        let default = package.features.get("default").cloned().unwrap_or_default();
        assert!(
            !default
                .iter()
                .any(|feature| feature.contains("cuda") || feature.contains("metal")),
            "{} turns an accelerator on by default",
            package.name
        );
    }
}
