//! The macros in a crate that calls `taskwright` by another name.
//!
//! This is a package of its own, since the name stands in the manifest.

use queue::prelude::*;

/// By the name in the manifest.
#[task(unique = "{order}")]
pub async fn found(order: u64, #[cfg(not(target_os = "none"))] to: &str) -> anyhow::Result<u64> {
    Ok(order + to.len() as u64)
}

/// By the path in the attribute.
#[task(crate = crate::deeper::queue)]
pub async fn given() {}

/// A plain function.
#[task]
pub fn plain(path: &str) -> TaskResult<usize> {
    Ok(path.len())
}

/// A struct.
#[derive(Serialize, Deserialize, Task)]
pub struct Derived {}

impl Run for Derived {
    type Output = ();

    async fn run(&self, _ctx: &Context) -> TaskResult {
        Ok(())
    }
}

/// The crate at another place.
pub mod deeper {
    pub use queue;
}

/// A program that is compiled and not run.
pub mod program {
    #![allow(dead_code)]

    use queue::prelude::*;

    #[queue::main]
    async fn app(app: App) -> anyhow::Result<App> {
        Ok(app)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_task_is_registered() {
        let registry = queue::registry::Registry::linked().unwrap();
        let names: Vec<&str> = registry.iter().map(|task| task.definition.name).collect();
        let crate_name = env!("CARGO_PKG_NAME");
        assert_eq!(names, ["Derived", "found", "given", "plain"].map(|name| format!("{crate_name}::{name}")));
    }
}
