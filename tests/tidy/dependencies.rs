//! What a feature brings along: the crates that the README counts, and no driver but its own.

use std::collections::BTreeSet;
use std::process::Command;

use crate::tree::{read, root};

/// Each driver, and the features that need it.
const DRIVERS: [(&str, &[&str]); 6] = [
    ("lapin", &["rabbitmq"]),
    ("redis", &["redis"]),
    ("sqlx-mysql", &["mysql"]),
    ("sqlx-postgres", &["postgres"]),
    ("sqlx-sqlite", &["sqlite"]),
    ("libsqlite3-sys", &["sqlite"]),
];

/// What the library compiles with this feature alone: other people's crates, each as `name v1.2.3`.
fn crates(feature: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(["tree", "--package", "taskwright", "--no-default-features", "--offline"]);
    command.args(["--features", feature, "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    names.filter(|name| !name.is_empty() && !name.starts_with("taskwright")).collect()
}

/// The README's table of features: name and number of crates.
fn counted() -> Vec<(String, usize)> {
    let readme = read("README.md");
    let (_, table) = readme.split_once("## Features of the crate").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let cell = |row: &str, index: usize| row.split('|').nth(index).unwrap().trim().to_owned();
    rows.map(|row| (cell(row, 1).replace('`', ""), cell(row, 3).parse().unwrap())).collect()
}

#[test]
fn the_readme_counts_the_crates_of_every_feature() {
    let manifest = read("runtime/Cargo.toml");
    let (_, features) = manifest.split_once("[features]").unwrap();
    let (features, _) = features.split_once("\n[").unwrap();
    let names = features.lines().filter(|line| !line.starts_with([' ', '#', ']']));
    let names = names.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned())).filter(|name| name != "default");
    let counted = counted();
    let listed: BTreeSet<_> = counted.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(listed, names.collect(), "the README's table has a row for each feature");
    let found: Vec<_> = counted.iter().map(|(name, _)| (name.clone(), crates(name).len())).collect();
    assert_eq!(counted, found, "left: the README, right: what `cargo tree` finds");
}

#[test]
fn a_feature_compiles_no_driver_but_its_own() {
    for (feature, _) in counted() {
        let crates = crates(&feature);
        for (driver, features) in DRIVERS {
            let compiled = crates.iter().any(|name| name.split(' ').next() == Some(driver));
            assert_eq!(compiled, features.contains(&&*feature), "{driver} with the feature {feature}");
        }
    }
}
