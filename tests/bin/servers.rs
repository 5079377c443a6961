//! Keeps one server of each kind until its input ends, for all tests that only use one.
//!
//! Prints `VARIABLE=URL` for each, `missing PACKAGE` for each whose programs are not on this machine, and then `ready`.

use std::io::{self, Read};
use std::process::ExitCode;
use std::thread;

use taskwright_tests::servers::{Kind, NoServer, Server};

fn main() -> ExitCode {
    let started = thread::scope(|scope| {
        let starting = Kind::ALL.map(|kind| scope.spawn(move || Server::start(kind)));
        starting.map(|server| server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut servers = Vec::new();
    for server in started {
        match server {
            Ok(server) => {
                println!("{}={}", server.kind().variable(), server.url());
                servers.push(server);
            }
            Err(NoServer::Missing(kind)) => println!("missing {}", kind.package()),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("ready");
    // It has nothing to say; its end is the word to stop.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}
