//! Real kills of real processes, on every kind of place that jobs can be in.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod carriers;
mod kills;
mod machines;
mod network;
mod sites;
mod versions;

use taskwright_tests::servers::Kind;

use self::sites::{Place, on_every_site};

on_every_site! {
    sqlite: super::Place::Sqlite => [
        crate::kills::workers_are_killed_at_random_moments as ten_thousand_jobs_survive_kills_at_random_moments,
        crate::kills::a_killed_workers_job_runs_in_another_process as a_killed_workers_job_runs_in_another_process,
        crate::machines::the_machines_clock_jumps as ten_thousand_jobs_survive_jumps_of_the_clock,
        crate::machines::the_disk_is_full_for_a_while as ten_thousand_jobs_survive_a_full_disk,
        crate::versions::share_a_queue as two_versions_of_a_program_share_a_queue,
    ],
    mysql: super::Place::Server(super::Kind::MySql) => [
        crate::kills::workers_are_killed_at_random_moments as ten_thousand_jobs_survive_kills_at_random_moments,
        crate::kills::the_server_crashes_in_the_middle as ten_thousand_jobs_survive_crashes_of_the_server,
        crate::kills::a_killed_workers_job_runs_in_another_process as a_killed_workers_job_runs_in_another_process,
        crate::machines::workers_clocks_are_wrong_by_minutes as ten_thousand_jobs_survive_wrong_clocks_of_workers,
        crate::versions::share_a_queue as two_versions_of_a_program_share_a_queue,
    ],
    postgres: super::Place::Server(super::Kind::Postgres) => [
        crate::kills::workers_are_killed_at_random_moments as ten_thousand_jobs_survive_kills_at_random_moments,
        crate::kills::the_server_crashes_in_the_middle as ten_thousand_jobs_survive_crashes_of_the_server,
        crate::kills::a_killed_workers_job_runs_in_another_process as a_killed_workers_job_runs_in_another_process,
        crate::machines::workers_clocks_are_wrong_by_minutes as ten_thousand_jobs_survive_wrong_clocks_of_workers,
        crate::versions::share_a_queue as two_versions_of_a_program_share_a_queue,
    ],
    rabbitmq_with_sqlite: super::Place::Server(super::Kind::RabbitMq) => [
        crate::kills::workers_are_killed_at_random_moments as ten_thousand_jobs_survive_kills_at_random_moments,
        crate::kills::the_server_crashes_in_the_middle as ten_thousand_jobs_survive_crashes_of_the_broker,
        crate::kills::a_killed_workers_job_runs_in_another_process as a_killed_workers_job_runs_in_another_process,
        crate::machines::the_machines_clock_jumps as ten_thousand_jobs_survive_jumps_of_the_clock,
        crate::machines::the_disk_is_full_for_a_while as ten_thousand_jobs_survive_a_full_disk,
        crate::versions::share_a_queue as two_versions_of_a_program_share_a_queue,
    ],
    rabbitmq: super::Place::BrokerAlone => [
        crate::carriers::workers_are_killed_at_random_moments as ten_thousand_jobs_survive_kills_at_random_moments,
        crate::carriers::the_broker_crashes_in_the_middle as ten_thousand_jobs_survive_crashes_of_the_broker,
    ],
    redis: super::Place::Server(super::Kind::Redis) => [
        crate::kills::workers_are_killed_at_random_moments as ten_thousand_jobs_survive_kills_at_random_moments,
        crate::kills::the_server_crashes_in_the_middle as ten_thousand_jobs_survive_crashes_of_the_server,
        crate::kills::a_killed_workers_job_runs_in_another_process as a_killed_workers_job_runs_in_another_process,
        crate::machines::workers_clocks_are_wrong_by_minutes as ten_thousand_jobs_survive_wrong_clocks_of_workers,
        crate::versions::share_a_queue as two_versions_of_a_program_share_a_queue,
    ],
}
