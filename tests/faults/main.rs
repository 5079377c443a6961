//! Real kills of real processes, on every kind of place that jobs can be in.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod kills;
mod sites;
mod versions;

use self::sites::{Place, on_every_site};

on_every_site! {
    sqlite: super::Place::Sqlite => [
        crate::kills::workers_are_killed_at_random_moments as ten_thousand_jobs_survive_kills_at_random_moments,
        crate::kills::a_killed_workers_job_runs_in_another_process as a_killed_workers_job_runs_in_another_process,
        crate::versions::share_a_queue as two_versions_of_a_program_share_a_queue,
    ],
}
