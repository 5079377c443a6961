//! What the system tells of processes: how long they have been running, and what they are connected to.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long all threads of these processes have been running; those that have ended are not counted.
pub(crate) fn processor_time(processes: impl IntoIterator<Item = u32>) -> Duration {
    let threads = processes.into_iter().flat_map(|process| entries(&folder(process).join("task")));
    let nanoseconds = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// The processes of the server that listens on a port of this machine: the one that listens, and its descendants.
/// None where it is elsewhere, or somebody else's.
pub(crate) fn server(port: u16) -> HashSet<u32> {
    let listening: HashSet<_> =
        sockets().filter(|socket| socket.listens && socket.local == port).map(|socket| socket.inode).collect();
    let processes: Vec<_> =
        entries(Path::new("/proc")).filter_map(|path| path.file_name()?.to_str()?.parse::<u32>().ok()).collect();
    let mut server: HashSet<_> =
        processes.iter().copied().filter(|process| !open_sockets(*process).is_disjoint(&listening)).collect();
    let parents: HashMap<_, _> = processes.iter().filter_map(|process| Some((*process, parent(*process)?))).collect();
    loop {
        let children: Vec<_> = parents
            .iter()
            .filter(|(child, parent)| server.contains(parent) && !server.contains(child))
            .map(|(child, _)| *child)
            .collect();
        if children.is_empty() {
            return server;
        }
        server.extend(children);
    }
}

/// How many connections a process has to a port.
pub(crate) fn connections(process: u32, port: u16) -> usize {
    let own = open_sockets(process);
    sockets().filter(|socket| !socket.listens && socket.remote == port && own.contains(&socket.inode)).count()
}

/// A socket of TCP that listens or is connected.
struct Socket {
    local: u16,
    remote: u16,
    listens: bool,
    inode: u64,
}

fn sockets() -> impl Iterator<Item = Socket> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let lines: Vec<_> = tables.iter().flat_map(|table| table.lines().skip(1).map(str::to_owned)).collect();
    lines.into_iter().filter_map(|line| {
        const CONNECTED: &str = "01";
        const LISTENS: &str = "0A";
        let words: Vec<_> = line.split_whitespace().collect();
        let port = |word: usize| u16::from_str_radix(words.get(word)?.rsplit_once(':')?.1, 16).ok();
        let state = *words.get(3)?;
        let of_interest = [CONNECTED, LISTENS].contains(&state);
        let inode = words.get(9)?.parse().ok()?;
        of_interest.then_some(Socket { local: port(1)?, remote: port(2)?, listens: state == LISTENS, inode })
    })
}

fn open_sockets(process: u32) -> HashSet<u64> {
    let files = entries(&folder(process).join("fd"));
    let inode = |file: PathBuf| {
        let target = fs::read_link(file).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    files.filter_map(inode).collect()
}

fn parent(process: u32) -> Option<u32> {
    let text = fs::read_to_string(folder(process).join("stat")).ok()?;
    // The name of the program is in parentheses, and may have any in it.
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn folder(process: u32) -> PathBuf {
    Path::new("/proc").join(process.to_string())
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_server_is_found_by_its_port_and_connections_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = std::process::id();
        assert!(server(port).contains(&own));
        assert_eq!(connections(own, port), 0);
        let _open = [(); 2].map(|()| TcpStream::connect(("127.0.0.1", port)).unwrap());
        assert_eq!(connections(own, port), 2);
        assert!(processor_time([own]) > Duration::ZERO);
    }
}
