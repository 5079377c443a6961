//! The servers that tests share: installed where they are missing, started once, gone with this process.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo::{cargo, run};

/// Servers that run until this is dropped.
pub(crate) struct Services {
    keeper: Child,
    /// What tells a test where they are.
    pub(crate) variables: Vec<(String, String)>,
    /// Debian's packages of those that are not on this machine.
    missing: Vec<String>,
}

impl Services {
    /// Starts what this machine has, after installing what it lacks where that can be done.
    pub(crate) fn start() -> Result<Self> {
        let services = Self::start_present()?;
        if services.missing.is_empty() || !install(&services.missing) {
            return Ok(services);
        }
        drop(services);
        Self::start_present()
    }

    fn start_present() -> Result<Self> {
        // Built as the tests are, so that it is built once.
        let built = run(cargo(&["build", "--quiet", "--workspace", "--all-features", "--bin", "servers"]))?;
        ensure!(built.success(), "the program that keeps the servers does not build");
        let mut command = Command::new(env::current_exe()?.with_file_name("servers"));
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(keeper.stdout.take().context("the keeper of the servers has no output")?);
        let mut services = Self { keeper, variables: Vec::new(), missing: Vec::new() };
        for line in output.lines() {
            let line = line?;
            if line == "ready" {
                return Ok(services);
            }
            if let Some(package) = line.strip_prefix("missing ") {
                services.missing.push(package.to_owned());
            } else if let Some((variable, url)) = line.split_once('=') {
                services.variables.push((variable.to_owned(), url.to_owned()));
            }
        }
        ensure!(false, "the servers for tests did not start");
        Ok(services)
    }

    /// Keeps them until whoever started this has had enough.
    pub(crate) fn keep(mut self) -> Result<()> {
        for (variable, url) in &self.variables {
            println!("export {variable}='{url}'");
        }
        self.missing.iter().for_each(|package| println!("# missing: {package}"));
        println!("# until Ctrl-C");
        self.keeper.wait()?;
        Ok(())
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Whatever it answers, there is nothing more to do about it.
        let _ = self.keeper.wait();
    }
}

/// Installs Debian's packages; false where that can't be done, which the tests will then say.
fn install(packages: &[String]) -> bool {
    println!("installing {}", packages.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let packages: Vec<_> = packages.iter().map(String::as_str).collect();
    apt(&["update", "--quiet"]) && apt(&[&["install", "--yes", "--no-install-recommends"], &packages[..]].concat())
}
