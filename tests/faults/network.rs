//! Networks that fail while the server is well.

use std::path::Path;
use std::time::Duration;

use taskwright::backend::{Backend, Listener};
use taskwright::job::WorkerId;
use taskwright::{Client, Name};
use taskwright_tests::chaos::place::Place;
use taskwright_tests::chaos::proxy::Weather;
use taskwright_tests::servers::{Kind, Server};
use taskwright_tests::victim::{self, Mark, Version, Victim};

use crate::sites::{LEASE, PATIENCE, VICTIM, claim_and_vanish, soon, until_left};

/// How often the connections of a listener are cut; `TASKWRIGHT_CUTS` says another number.
const CUTS: usize = 100;

/// A server of its own behind a network of its own; `None` where this machine has no such server.
async fn place(kind: Kind, name: &str) -> Option<Place> {
    if !Server::exists(kind) {
        return None;
    }
    Some(Place::open(name).await.unwrap())
}

/// Waits until somebody leads.
async fn until_led(backend: &dyn Backend) {
    let (leader, role, me) = (backend.leader().unwrap(), Name::new("maintenance").unwrap(), WorkerId::new());
    while leader.campaign(&role, me, LEASE).await.unwrap().is_some() {
        leader.resign(&role, me).await.unwrap();
        tokio::time::sleep(LEASE / 10).await;
    }
}

/// F9: whoever leads hangs in a call, and what it should look after is looked after by another.
async fn a_leader_in_a_black_hole_is_followed(place: &Place) {
    let client = victim::client(&place.direct).await.unwrap();
    let network = place.network().unwrap();
    let start = |url: &str| Victim::start(Path::new(VICTIM), url, LEASE, Version::New).unwrap();
    let _first = start(&place.through);
    soon("an election", until_led(&**client.backend())).await;

    network.change(Weather::Silent);
    let orphan = loop {
        let orphan = client.dispatch(Mark::new(1)).await.unwrap();
        // Beside RabbitMQ the first one reaches the record in spite of the silence, and may be quicker.
        tokio::select! {
            _ = claim_and_vanish(&client, "default", LEASE) => break orphan,
            result = orphan.wait() => assert_eq!(result.unwrap(), 1),
        }
    };
    let second = start(&place.direct);
    assert_eq!(soon("the rescue of an orphan", orphan.wait()).await.unwrap(), 1);

    // The first one is not deaf once the network is back, and looks after everything alone.
    network.change(Weather::Clear);
    second.kill().unwrap();
    let orphan = client.dispatch(Mark::new(2)).await.unwrap();
    assert_eq!(soon("work by the first worker", orphan.wait()).await.unwrap(), 2);
    soon("an end of all work", until_left(&client, 0)).await;
}

/// F18: what a listener holds is the same after any number of cuts.
async fn a_network_that_is_cut_again_and_again_leaks_nothing(place: &Place) {
    let cuts = std::env::var("TASKWRIGHT_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap());
    let network = place.network().unwrap();
    let (direct, through) =
        (victim::client(&place.direct).await.unwrap(), victim::client(&place.through).await.unwrap());
    let mut listener = None;
    hear_a_push(&direct, &through, &mut listener).await;
    let before = Held::now(network.connections());
    let had = before.handles();
    for _ in 0..cuts {
        network.reset();
        hear_a_push(&direct, &through, &mut listener).await;
    }
    // What was cut goes as soon as it is noticed.
    let flat = async {
        while !Held::now(network.connections()).is_at_most(&before, had) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let is_flat = tokio::time::timeout(PATIENCE, flat).await.is_ok();
    assert!(is_flat, "before {before:?}, after {cuts} cuts {:?}", Held::now(network.connections()));
}

/// Hears through one network what is pushed beside it, whatever was cut before.
async fn hear_a_push(direct: &Client, through: &Client, listener: &mut Option<Box<dyn Listener>>) {
    let heard = async {
        loop {
            let listening = match listener.take() {
                Some(listening) => Ok(listening),
                None => through.backend().wake().unwrap().listen().await,
            };
            let Ok(mut listening) = listening else { continue };
            direct.dispatch(Mark::new(0)).await.unwrap();
            if listening.next().await.is_ok() {
                *listener = Some(listening);
                return;
            }
        }
    };
    soon("a hint", heard).await;
}

/// What a process holds.
#[derive(Clone, Debug)]
struct Held {
    connections: usize,
    /// Sockets, pipes, timers and the like.
    handles: Vec<String>,
    /// Files by their names.
    files: usize,
    tasks: usize,
}

impl Held {
    /// A thread of lapin's starts a runtime when it first needs one, and it stays: this is its thread, and its handles.
    const RUNTIME: (&str, usize) = ("async-compat/to", 4);

    /// A database opens a reader when it first needs one, and a second one when two read at once: for each of two clients
    /// twice the file and its log.
    const READERS: usize = 8;

    fn now(connections: usize) -> Self {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let named = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let (files, handles): (Vec<_>, Vec<_>) = named.partition(|name| name.is_absolute());
        let handles = handles.iter().map(|name| name.display().to_string()).collect();
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        Self { connections, handles, files: files.len(), tasks }
    }

    /// How many handles there are but for those of that runtime.
    fn handles(&self) -> usize {
        let threads = std::fs::read_dir("/proc/self/task").unwrap();
        let mut names = threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).ok());
        let (name, handles) = Self::RUNTIME;
        self.handles.len() - if names.any(|thread| thread.trim_end() == name) { handles } else { 0 }
    }

    /// At most so much, give or take a connection that is being replaced.
    fn is_at_most(&self, before: &Self, had: usize) -> bool {
        self.connections <= before.connections
            && self.handles() <= had + 2
            && self.files <= before.files + Self::READERS
            && self.tasks <= before.tasks + 2
    }
}

/// What the test above goes by tells one connection more from none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_left_open_is_seen() {
    let Some(place) = place(Kind::Redis, "redis").await else { return };
    let network = place.network().unwrap();
    let client = victim::client(&place.through).await.unwrap();
    client.dispatch(Mark::new(0)).await.unwrap();
    let before = Held::now(network.connections());
    let had = before.handles();
    assert!(Held::now(network.connections()).is_at_most(&before, had));
    let left_open = victim::client(&place.through).await.unwrap();
    left_open.dispatch(Mark::new(0)).await.unwrap();
    assert!(!Held::now(network.connections()).is_at_most(&before, had));
}

macro_rules! on_every_network {
    ($($module:ident: $kind:expr),+ $(,)?) => {$(
        mod $module {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_leader_in_a_black_hole_is_followed() {
                if let Some(place) = super::place($kind, stringify!($module)).await {
                    super::a_leader_in_a_black_hole_is_followed(&place).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_network_that_is_cut_again_and_again_leaks_nothing() {
                if let Some(place) = super::place($kind, stringify!($module)).await {
                    super::a_network_that_is_cut_again_and_again_leaks_nothing(&place).await;
                }
            }
        }
    )+};
}

on_every_network! {
    mysql: super::Kind::MySql,
    postgres: super::Kind::Postgres,
    rabbitmq: super::Kind::RabbitMq,
    redis: super::Kind::Redis,
}
