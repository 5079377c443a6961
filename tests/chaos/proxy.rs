//! A network that can be made bad: what goes through it is late, is lost, or is cut off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everything arrives at once.
    Clear,
    /// Everything arrives, each piece this much later.
    Late(Duration),
    /// Connections stay open, are even accepted, and nothing arrives: a half-open network.
    Silent,
}

/// A port of this machine that leads to another one, as well as the weather is.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Ends every connection of the moment.
    cut: Arc<Notify>,
    /// One for each connection that is carried.
    carried: Arc<()>,
    /// Ends with the proxy, and all connections with it.
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Opens a port that leads to `target`.
    ///
    /// # Errors
    ///
    /// When no port can be opened.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let weather = watch::Sender::new(Weather::Clear);
        let cut = Arc::new(Notify::new());
        let carried = Arc::new(());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, weather.clone(), Arc::clone(&cut), Arc::clone(&carried)));
        Ok(Self { address, weather, cut, carried, _tasks: tasks })
    }

    /// The port to connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather, for the connections that there are too.
    pub fn change(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How many connections go through it.
    #[must_use]
    pub fn connections(&self) -> usize {
        // One is ours, and one is held by whoever accepts.
        Arc::strong_count(&self.carried) - 2
    }

    /// Resets every connection, whatever is on its way.
    pub fn reset(&self) {
        self.cut.notify_waiters();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    weather: watch::Sender<Weather>,
    cut: Arc<Notify>,
    carried: Arc<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let carrying = carry(near, target, weather.subscribe(), Arc::clone(&cut));
        let counted = Arc::clone(&carried);
        connections.spawn(async move {
            carrying.await;
            drop(counted);
        });
    }
}

/// One connection, until either side ends it or it is cut.
async fn carry(mut near: TcpStream, target: SocketAddr, weather: watch::Receiver<Weather>, cut: Arc<Notify>) {
    // Before anything is awaited, so that no cut is missed.
    let cut = cut.notified();
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    // So that a connection which is dropped here is reset and not ended politely.
    let _ = (near.set_zero_linger(), far.set_zero_linger(), near.set_nodelay(true), far.set_nodelay(true));
    // Borrowed halves: one that is owned says a polite goodbye when it is dropped.
    let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
    tokio::select! {
        () = cut => {}
        () = pump(near_in, far_out, weather.clone()) => {}
        () = pump(far_in, near_out, weather) => {}
    }
}

/// How many pieces are on their way at once, at the most.
const UNDER_WAY: usize = 1_000;

/// Carries bytes one way.
async fn pump(from: ReadHalf<'_>, to: WriteHalf<'_>, weather: watch::Receiver<Weather>) {
    let (sender, pieces) = mpsc::channel(UNDER_WAY);
    let sending = async {
        send(from, sender, weather).await;
        // What is under way still arrives.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = sending => {}
        () = deliver(pieces, to) => {}
    }
}

/// Puts what comes on its way, with the moment at which it is to arrive.
async fn send(mut from: ReadHalf<'_>, sender: mpsc::Sender<(Instant, Vec<u8>)>, mut weather: watch::Receiver<Weather>) {
    let mut piece = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece).await else { return };
        // The proxy holds the sender; without it there is nothing to carry for.
        let Ok(now) = weather.wait_for(|weather| *weather != Weather::Silent).await.map(|weather| *weather) else {
            return;
        };
        let late = if let Weather::Late(late) = now { late } else { Duration::ZERO };
        if sender.send((Instant::now() + late, piece[..length].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn deliver(mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: WriteHalf<'_>) {
    while let Some((due, piece)) = pieces.recv().await {
        // A sleep takes a millisecond at the least, also until a moment that has passed.
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// A server that says back what it hears, behind a proxy, and a connection to it.
    async fn setup() -> (Proxy, TcpStream, JoinSet<()>) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(server.local_addr().unwrap()).await.unwrap();
        let mut echoing = JoinSet::new();
        echoing.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut connection, _)) = server.accept().await {
                connections.spawn(async move {
                    let (mut from, mut to) = connection.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let connection = TcpStream::connect(proxy.address()).await.unwrap();
        (proxy, connection, echoing)
    }

    async fn echo(connection: &mut TcpStream) -> std::io::Result<[u8; 5]> {
        connection.write_all(b"hello").await?;
        let mut heard = [0; 5];
        connection.read_exact(&mut heard).await.map(|_| heard)
    }

    #[tokio::test]
    async fn in_clear_weather_everything_arrives() {
        let (_proxy, mut connection, _echoing) = setup().await;
        assert_eq!(echo(&mut connection).await.unwrap(), *b"hello");
    }

    #[tokio::test]
    async fn what_is_late_is_not_early_either_way() {
        const LATE: Duration = Duration::from_millis(20);
        let (proxy, mut connection, _echoing) = setup().await;
        proxy.change(Weather::Late(LATE));
        let began = Instant::now();
        assert_eq!(echo(&mut connection).await.unwrap(), *b"hello");
        assert!(began.elapsed() >= 2 * LATE, "it was early");
    }

    #[tokio::test]
    async fn in_silence_nothing_arrives_until_it_ends() {
        let (proxy, mut connection, _echoing) = setup().await;
        echo(&mut connection).await.unwrap();
        proxy.change(Weather::Silent);
        {
            let mut waiting = std::pin::pin!(echo(&mut connection));
            // Often enough for all that would arrive in clear weather.
            for _ in 0..10_000 {
                assert!(waiting.as_mut().now_or_never().is_none(), "something arrived in silence");
                tokio::task::yield_now().await;
            }
            proxy.change(Weather::Clear);
            assert_eq!(waiting.await.unwrap(), *b"hello");
        }
    }

    #[tokio::test]
    async fn a_reset_ends_connections_and_not_the_proxy() {
        let (proxy, mut connection, _echoing) = setup().await;
        echo(&mut connection).await.unwrap();
        proxy.reset();
        let mut rest = Vec::new();
        assert!(connection.read_to_end(&mut rest).await.is_err(), "it was not reset");
        let mut another = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(echo(&mut another).await.unwrap(), *b"hello");
        assert_eq!(proxy.connections(), 1);
    }
}
