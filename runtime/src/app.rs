//! The wiring of a program: state, middleware, and what its worker is like.

use std::sync::Arc;

use tower::{Layer, Service};

use crate::backend::connect::Places;
use crate::client::Client;
use crate::context::States;
use crate::dispatch::JobOptions;
use crate::error::Result;
use crate::registry::Registry;
use crate::task::TaskState;
use crate::worker::isolation;
use crate::worker::{BoxError, Shutdown, Summary, TaskCall, TaskResponse, TaskService, Worker, WorkerOptions};

/// The wiring of a program: what its tasks need, and what goes around them.
///
/// [`#[taskwright::main]`](macro@crate::main) hands one to the application's function and runs the command line with
/// what comes back. The same value also runs inside another program, such as a web server or a test:
///
/// ```
/// use taskwright::prelude::*;
/// use taskwright::Shutdown;
///
/// struct Greeting(&'static str);
///
/// #[task]
/// async fn greet(name: String, #[state] greeting: &Greeting) -> TaskResult<String> {
///     Ok(format!("{} {name}", greeting.0))
/// }
///
/// # #[tokio::main]
/// # async fn main() -> taskwright::Result<()> {
/// let app = App::new().url("memory:").state(Greeting("hello"));
/// let client = app.client().await?;
/// let shutdown = Shutdown::new();
/// let worker = tokio::spawn(app.run_worker(client.clone(), shutdown.clone()));
///
/// let greeting = client.dispatch(Greet::new("ada")).await?.await?;
/// assert_eq!(greeting, "hello ada");
/// shutdown.stop();
/// # worker.await.expect("the worker does not panic")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct App {
    states: States,
    registry: Option<Registry>,
    layers: crate::worker::Layers,
    options: WorkerOptions,
    url: Option<String>,
    store_url: Option<String>,
    results_url: Option<String>,
    events_url: Option<String>,
    /// For all jobs that this program dispatches.
    jobs: JobOptions,
    #[cfg(feature = "cli")]
    commands: Vec<crate::cli::AddedCommand>,
}

impl App {
    /// Nothing wired: every linked task, no state, the default worker.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives tasks a value, for parameters marked `#[state]` of type `&T`, `T` or `Arc<T>`.
    #[must_use]
    pub fn state<T: TaskState>(mut self, value: T) -> Self {
        self.states.insert(value);
        self
    }

    /// Puts a tower layer around every attempt, outside of those added before.
    #[must_use]
    pub fn layer<L>(mut self, layer: &L) -> Self
    where
        L: Layer<TaskService>,
        L::Service: Service<TaskCall, Response = TaskResponse, Error: Into<BoxError>> + Clone + Send + Sync + 'static,
        <L::Service as Service<TaskCall>>::Future: Send + 'static,
    {
        self.layers = self.layers.around(layer);
        self
    }

    /// Runs these tasks instead of all that are linked.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Changes how the worker behaves; stronger than configuration and command line.
    #[must_use]
    pub fn options(mut self, change: impl FnOnce(&mut WorkerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// The backend to use; stronger than configuration and command line.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The backend that keeps the record of jobs which a broker at [`url`](App::url) only carries; stronger than
    /// configuration.
    #[must_use]
    pub fn store_url(mut self, url: impl Into<String>) -> Self {
        self.store_url = Some(url.into());
        self
    }

    /// The backend that keeps what jobs returned, where that is not the one of the jobs; stronger than configuration.
    #[must_use]
    pub fn results_url(mut self, url: impl Into<String>) -> Self {
        self.results_url = Some(url.into());
        self
    }

    /// The backend that brings hints of what happened, where that is not the one of the jobs; stronger than configuration.
    #[must_use]
    pub fn events_url(mut self, url: impl Into<String>) -> Self {
        self.events_url = Some(url.into());
        self
    }

    /// Adds a command to the generated program.
    ///
    /// Its handler is given a client of the program's backend, and what the command line said.
    /// The command understands `--url`, `--config` and the other settings too.
    ///
    /// ```
    /// use taskwright::App;
    /// use taskwright::cli::clap::{Arg, ArgMatches, Command};
    /// use taskwright::{Client, TaskResult};
    ///
    /// async fn import(client: Client, matches: ArgMatches) -> TaskResult {
    ///     let file = matches.get_one::<String>("file").expect("clap requires it");
    ///     println!("importing {file} to {}", client.backend().info().location);
    ///     Ok(())
    /// }
    ///
    /// let command = Command::new("import").about("Import a file").arg(Arg::new("file").required(true));
    /// let app = App::new().command(command, import);
    /// ```
    #[cfg(feature = "cli")]
    #[must_use]
    pub fn command<F, R, E>(mut self, command: clap::Command, handler: F) -> Self
    where
        F: FnOnce(Client, clap::ArgMatches) -> R + Send + 'static,
        R: Future<Output = Result<(), E>> + 'static,
        E: Into<BoxError>,
    {
        self.commands.push(crate::cli::AddedCommand::new(command, handler));
        self
    }

    /// A client of the program's backend, also made the process default.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotConfigured`](crate::ErrorKind::NotConfigured) when no URL was given; else what
    /// [`Client::connect`] says.
    pub async fn client(&self) -> Result<Client> {
        let client = Client::builder().options(self.jobs.clone()).connect_all(&self.places()).await?;
        client.install();
        Ok(client)
    }

    /// Where the program's jobs and all that belongs to them are.
    #[must_use]
    pub fn places(&self) -> Places {
        Places {
            url: self.url.clone().unwrap_or_else(|| DEFAULT_URL.to_owned()),
            store_url: self.store_url.clone(),
            results_url: self.results_url.clone(),
            events_url: self.events_url.clone(),
        }
    }

    /// Lets tasks with `isolate = "process"` run: a worker starts this program again for them, and that child runs
    /// here what it is handed, with this wiring, until its worker lets go of it. Anywhere else it returns at once.
    ///
    /// Call it when everything is wired, and before anything that only one process may do, such as listening on a port.
    /// [`#[taskwright::main]`](macro@crate::main) calls it by itself.
    ///
    /// A child has a client of its own, so that its tasks may dispatch, unless the jobs are in the worker's memory.
    ///
    /// # Errors
    ///
    /// Only in a child: what [`App::client`] and [`App::tasks`] say.
    pub async fn isolated(self) -> Result<Self> {
        isolation::heeds();
        #[cfg(unix)]
        if let Some(line) = isolation::summoned() {
            let in_memory = self.url.as_deref().is_some_and(|url| url.starts_with("memory:"));
            let client = if in_memory { None } else { Some(self.client().await?) };
            let registry = self.tasks()?;
            registry.check(&self.states)?;
            match isolation::serve(line, &registry, Arc::new(self.states), client).await? {}
        }
        Ok(self)
    }

    /// The tasks that this program can run.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Wiring`](crate::ErrorKind::Wiring) when two linked tasks have one name.
    pub fn tasks(&self) -> Result<Registry> {
        self.registry.clone().map_or_else(Registry::linked, Ok)
    }

    /// The worker of this program.
    ///
    /// # Errors
    ///
    /// As [`Worker::new`].
    pub fn worker(self, client: Client) -> Result<Worker> {
        let registry = self.tasks()?;
        Ok(Worker::new(client, registry, Arc::new(self.states), self.options)?.with_layers(self.layers))
    }

    /// Runs the worker of this program until `shutdown` says stop.
    ///
    /// # Errors
    ///
    /// Only before the first claim, when this program and its backend don't fit together:
    /// [`ErrorKind::Wiring`](crate::ErrorKind::Wiring) when no task is registered, two have one name, or one needs state
    /// that nobody gave (as [`Registry::linked`] and [`App::worker`] say), and
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when a task asks for what this backend does not offer,
    /// and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when an option is out of range.
    /// A worker that has started does not fail: it waits for a store that is away, and says so.
    pub async fn run_worker(self, client: Client, shutdown: Shutdown) -> Result<Summary> {
        self.worker(client)?.run(shutdown).await
    }
}

/// What the generated program needs of its wiring.
#[cfg(feature = "cli")]
impl App {
    /// As configuration and command line say, before the application's own code.
    pub(crate) fn configured(places: Places, jobs: JobOptions, options: WorkerOptions) -> Self {
        let Places { url, store_url, results_url, events_url } = places;
        Self { url: Some(url), store_url, results_url, events_url, jobs, options, ..Self::default() }
    }

    pub(crate) fn decided(&self) -> (Places, &WorkerOptions) {
        (self.places(), &self.options)
    }

    pub(crate) fn take_commands(&mut self) -> Vec<crate::cli::AddedCommand> {
        std::mem::take(&mut self.commands)
    }

    /// Whether a worker would start with these tasks and this state.
    pub(crate) fn check(&self) -> Result<()> {
        self.tasks()?.check(&self.states)
    }
}

/// Where jobs are kept unless anybody says otherwise.
pub(crate) const DEFAULT_URL: &str = "sqlite:taskwright.db";
