//! The suite's table of contents: every case with the promises that it checks and the abilities that it needs.

/// Hands the table to [`__conformance_rows`](crate::__conformance_rows), which makes `tests` or `cases` of it.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_table {
    ($rows:ident) => {
        $crate::__conformance_rows! { $rows
            push {
                [P1] job_comes_out_as_it_went_in;
                [P1] new_job_starts_without_a_past;
                [P1] empty_batch_is_answered_empty;
                [P1 P7] answers_come_in_the_order_asked [Record];
                [P1 P15] repeated_batch_adds_nothing [Record];
                [P1 P15] repeated_batch_adds_nothing_once_its_jobs_are_claimed [Record];
                [P1 P15] repeated_batch_adds_nothing_once_its_jobs_have_ended [Record];
                [P1 P15] repeated_batch_of_one_job_adds_nothing_once_that_has_ended [Record];
                [P7 P15] repeated_batch_refuses_again_what_it_refused [Record];
                [P1 P15] waiting_job_is_not_added_by_another_batch [Record];
                [P1 P15] job_that_runs_or_is_kept_is_not_added_by_another_batch [Record];
                [P1 P15] one_batch_pushed_at_the_same_time_is_stored_once [Record];
                [P1 P2 P15] job_of_two_batches_at_the_same_time_is_stored_once_though_it_is_claimed [Record];
                [P1] batches_pushed_at_the_same_time_are_all_stored;
                [P1 P15] abandoned_push_is_done_whole_or_not_at_all [Record];
                [P1 P7] conflict_leaves_the_rest_of_its_batch_stored [Record];
                [P1] large_batch_is_stored;
                [P1] jobs_of_one_batch_keep_what_tells_them_apart;
                [P1] hundred_jobs_alike_come_out_as_they_went_in;
                [P1] every_byte_survives_in_a_payload;
                [P1] empty_payload_survives;
                [P1] largest_payload_survives;
                [P1] longest_names_survive;
                [P1] names_differ_by_case;
                [P1] most_attempts_survive;
            }
            claim {
                [P2] claimed_job_is_not_handed_out_again;
                [P2] two_workers_never_share_a_job;
                [P2] many_workers_at_once_get_each_job_once;
                [P3] lease_names_its_job_attempt_and_worker;
                [P3] each_claim_of_a_job_has_another_token;
                [P6] higher_priority_goes_first;
                [P6] lowest_and_highest_priority_are_kept_apart;
                [P6] earlier_due_goes_first_among_equals;
                [P6] lower_id_goes_first_at_the_same_moment;
                [P6] order_holds_from_one_claim_to_the_next;
                [P6] queues_are_served_in_the_order_given;
                [P6] each_queue_keeps_its_own_limit;
                [P6] limit_of_the_claim_holds_for_all_queues_together;
                [P6] many_queues_are_served_by_one_claim;
                [P6] queue_that_is_not_asked_for_is_left_alone;
                [P6] claim_of_nothing_gets_nothing;
                [P4 P2] large_backlog_due_at_one_moment_is_all_handed_out [Clock];
                [P10] expired_job_is_never_handed_out;
                [P10] job_that_expires_before_it_is_due_never_runs;
                [P10] job_claimed_before_its_expiry_may_end_after_it;
                [P10] expired_backlog_does_not_hide_what_can_run;
                [P4] next_due_is_never_too_late;
            }
            aging {
                [P6] each_level_is_worth_its_time_of_waiting [Aging];
                [P6] order_of_aged_jobs_holds_from_one_claim_to_the_next [Aging];
                [P6] negative_priorities_age_too [Aging];
                [P6] lower_id_goes_first_where_priority_and_waiting_weigh_the_same [Aging];
                [P6] without_aging_the_higher_priority_goes_first_however_long_others_wait [Aging];
                [P6] queues_keep_their_order_however_long_a_job_waits [Aging];
                [P6] each_queue_keeps_its_own_limit_among_aged_jobs [Aging];
                [P6] low_priority_does_not_starve_under_a_stream_of_high_ones [Aging Clock];
                [P6] strict_priority_starves_what_is_low_as_long_as_high_ones_come;
                [P4 P6 P10] aged_claim_leaves_out_what_can_not_run [Aging Clock];
                [P2 P6] aged_backlog_is_all_handed_out_by_claims_of_any_size [Aging];
                [P6 P13] jobs_of_one_lane_age [Limiter Aging];
            }
            unknown {
                [P8 P6] job_of_an_unknown_task_is_left_to_others;
                [P8] worker_that_knows_none_of_the_jobs_is_told_to_wait;
                [P8] what_lies_behind_many_unknown_jobs_is_handed_out;
                [P6 P8] passed_over_jobs_keep_their_turn [Record];
                [P8] job_given_back_as_unknown_is_there_for_others_at_once;
                [P8 P9 P10] passed_over_jobs_are_counted_and_can_be_called_off [Inspect Record];
            }
            time {
                [P4] delayed_job_is_not_early;
                [P4] delayed_job_is_handed_out_at_its_moment [Clock];
                [P4] job_for_a_moment_is_handed_out_then [Clock];
                [P4] job_for_a_moment_that_has_passed_is_due_at_once;
                [P4] delay_counts_from_the_push [Clock];
                [P4] longest_delay_is_kept [Clock];
                [P4] delay_without_end_is_stored;
                [P4] clock_that_is_turned_back_makes_nothing_early [Clock];
                [P2 P4] clock_that_is_turned_back_takes_no_lease_away;
            }
            extend {
                [P5] extended_lease_lives_on;
                [P5] each_lease_is_extended_for_itself;
                [P5] lapsed_lease_is_renewed_until_it_is_reaped;
                [P3] reaped_lease_is_lost;
                [P3] settled_lease_is_lost;
                [P3] lease_of_a_job_that_another_worker_has_is_lost;
                [P3] lease_of_an_earlier_claim_of_the_same_attempt_is_lost;
                [P3] lease_that_was_never_given_is_lost;
                [P11] heartbeat_without_leases_is_fine;
                [P15 P5] repeated_heartbeat_changes_nothing;
                [P5] hundreds_of_leases_are_extended_at_once;
                [P9] cancelled_job_is_heard_of [Record];
                [P9 P15] cancelled_job_is_heard_of_every_time [Record];
                [P3 P9] stale_lease_hears_of_no_cancellation [Record];
                [P12] progress_can_be_read [Results Record];
                [P3] stale_progress_is_not_written [Results Record];
                [P12] progress_starts_anew_with_each_attempt [Results Record];
            }
            settle {
                [P3] empty_batch_is_answered_empty;
                [P2] completed_job_never_runs_again;
                [P2] discarded_job_never_runs_again;
                [P9] job_cancelled_by_its_worker_never_runs_again;
                [P10] job_found_expired_by_its_worker_never_runs_again;
                [P4] failed_job_waits_and_runs_again [Clock];
                [P5] crash_that_a_worker_tells_is_counted;
                [P2] failure_of_the_last_attempt_is_final;
                [P1] failures_are_remembered_with_their_causes;
                [P1] latest_attempts_are_remembered;
                [P1] everything_survives_a_retry;
                [P14] job_of_a_stopping_worker_keeps_its_attempts;
                [P8] job_of_an_unknown_task_keeps_its_attempts;
                [P14] snoozed_job_keeps_its_attempts;
                [P3] stale_lease_is_refused;
                [P2 P3] stale_lease_is_refused_while_another_worker_has_the_job [Leases];
                [P3] stale_lease_is_refused_at_the_same_attempt_of_the_same_worker;
                [P3 P5] lapsed_lease_may_settle_until_it_is_reaped;
                [P3 P15] repeated_settle_is_told_that_the_lease_is_lost;
                [P3 P15] one_lease_settled_twice_in_a_batch_counts_once;
                [P3] answers_come_in_the_order_asked;
                [P3] jobs_of_one_claim_end_each_in_its_own_way;
                [P3] jobs_of_many_workers_are_settled_together;
                [P3 P5] half_settled_claim_gives_back_only_the_other_half;
                [P3] jobs_of_one_claim_are_settled_by_many_at_once;
                [P3 P15] one_lease_settled_by_many_at_once_counts_once;
                [P3 P5] settle_before_the_reaper_stands;
                [P3 P5] settle_and_reap_at_the_same_time_agree;
                [P8] history_of_free_returns_does_not_grow;
                [P1] settled_job_is_what_the_policy_says [Inspect];
            }
            cancel {
                [P9] empty_batch_is_answered_empty;
                [P9] waiting_job_never_runs [Record];
                [P9] scheduled_job_never_runs [Record];
                [P9] job_between_attempts_never_runs_again [Record];
                [P9] running_job_is_asked_to_stop [Record];
                [P9] running_job_may_still_complete [Record];
                [P9] running_job_that_fails_is_not_retried [Record];
                [P9] running_job_that_is_given_back_does_not_wait [Record];
                [P5 P9] running_job_whose_worker_dies_is_not_rescued [Record];
                [P9] running_job_that_fails_ends_as_cancelled [Record];
                [P9 P15] repeated_cancel_changes_nothing [Record];
                [P9] finished_job_tells_how_it_ended [Record];
                [P9] job_that_is_not_there_is_absent [Record];
                [P9] answers_come_in_the_order_asked [Record];
                [P9] job_cancelled_while_it_is_claimed_is_one_or_the_other [Record];
            }
            reap {
                [P5] nothing_to_do_is_said;
                [P5] lapsed_lease_is_back_within_one_reap;
                [P5] live_lease_is_left_alone;
                [P5 P15] repeated_reap_does_nothing;
                [P5] lease_that_lapsed_first_goes_first;
                [P5] bounded_reap_says_that_there_is_more;
                [P5] calm_ends_no_later_than_the_first_lease;
                [P5] bounded_reap_takes_a_part_of_one_claim;
                [P5] orphan_is_found_behind_many_long_jobs;
                [P5] crash_is_counted_and_remembered;
                [P5] poison_is_discarded_after_its_last_crash;
                [P5] crash_of_the_last_attempt_is_final;
                [P5] crashes_survive_a_retry;
                [P2 P5] reapers_at_the_same_time_count_each_crash_once;
                [P1 P5] everything_survives_a_rescue;
                [P10] waiting_jobs_that_expired_are_ended [Record];
                [P5 P10] lapsed_leases_go_before_expired_jobs [Record];
                [P5] jobs_of_all_queues_are_rescued;
            }
            unique {
                [P7] conflict_names_the_holder [Record];
                [P7] key_is_one_for_all_queues_and_tasks [Record];
                [P7] different_keys_do_not_meet [Record];
                [P7] first_of_a_batch_wins [Record];
                [P7] one_of_many_pushes_at_the_same_time_wins [Record];
                [P1 P7] holder_does_not_conflict_with_itself [Record];
                [P7] key_is_kept_while_the_job_is_unfinished [Record];
                [P5 P7] key_is_kept_through_a_rescue [Record];
                [P7] key_is_free_once_the_job_has_ended [Record];
                [P7] key_is_free_though_the_outcome_is_kept [Record];
                [P7] key_is_free_after_the_last_attempt [Record];
                [P7] key_is_free_once_a_waiting_job_is_cancelled [Record];
                [P7] key_is_free_once_a_waiting_job_has_expired [Record];
                [P7] key_of_poison_is_free [Record];
                [P3 P7] stale_settle_leaves_the_key_to_its_holder [Record];
                [P7] retry_by_hand_passes_over_a_job_whose_key_is_taken [Inspect Record];
                [P7] retry_by_hand_takes_the_key_again [Inspect Record];
                [P7] one_of_two_dead_letters_with_one_key_is_retried [Inspect Record];
                [P7] key_is_free_once_the_job_is_deleted [Inspect Record];
            }
            until {
                [P7] key_is_free_once_its_job_is_started [Record];
                [P7] one_claim_frees_the_keys_of_all_its_jobs [Record];
                [P7] job_taken_by_its_id_frees_its_key [Ledger Record];
                [P7] retry_leaves_the_key_to_the_next_job [Record];
                [P7] job_that_was_started_never_takes_the_key_back [Record];
                [P5 P7] rescue_leaves_the_key_to_the_next_job [Record];
                [P7] end_of_a_started_job_leaves_the_key_to_the_next [Record];
                [P7] key_of_a_job_that_ends_before_it_is_started_is_free [Record];
                [P7] retry_by_hand_of_a_started_job_needs_no_key [Inspect Record];
                [P7] retry_by_hand_of_a_job_that_never_started_needs_its_key [Inspect Record];
                [P7] deleted_job_frees_a_key_whatever_its_rule [Inspect Record];
                [P7 P11] job_of_a_paused_queue_keeps_its_key [Inspect Record];
                [P2 P7] pushes_and_claims_at_the_same_time_agree [Record];
                [P7] time_holds_the_key_whatever_becomes_of_the_job [Record];
                [P5 P7] time_holds_the_key_through_a_rescue [Record];
                [P7] key_is_free_when_its_time_has_passed [Record];
                [P7] reaper_leaves_keys_whose_time_has_not_passed [Record];
                [P7] first_of_a_batch_takes_the_key_for_its_time [Record];
                [P7] one_of_many_takes_a_key_whose_time_has_passed [Record];
                [P7 P15] repeated_batch_is_refused_again_after_the_time_has_passed [Record];
                [P7] retry_by_hand_neither_needs_nor_takes_a_key_for_a_time [Inspect Record];
                [P7] time_holds_the_key_when_its_job_is_pruned [Inspect Record];
            }
            replace {
                [P7] waiting_job_is_replaced [Record];
                [P7 P13] replaced_job_takes_the_limits_of_what_replaces_it [Limiter Record];
                [P7] only_what_is_asked_for_is_replaced [Record];
                [P7] job_that_is_due_can_be_put_off_and_brought_forward [Record];
                [P7] priority_that_is_replaced_counts [Record];
                [P7] due_time_moves_no_further_than_the_longest_wait [Record];
                [P7] running_job_is_not_replaced [Record];
                [P7] push_while_the_job_runs_waits_behind_it [Record];
                [P7] jobs_of_one_batch_replace_each_other [Record];
                [P7] latest_of_a_batch_replaces_a_job_that_waits [Record];
                [P7 P15] repeated_batch_does_not_replace_again [Record];
                [P7] many_pushes_at_the_same_time_leave_one_job [Record];
                [P2 P7] pushes_and_claims_at_the_same_time_lose_no_push [Record];
                [P7] job_of_another_task_is_not_replaced [Record];
                [P7] replaced_job_stays_in_its_queue [Record];
                [P7 P10] expiry_moves_with_the_due_time [Record];
                [P7] key_of_a_replaced_job_is_kept_and_freed_as_before [Record];
                [P7] cancelled_job_is_not_replaced [Record];
                [P7] job_that_is_retried_by_hand_is_replaced_only_if_it_never_ran [Inspect Record];
                [P7 P11] job_of_a_paused_queue_is_replaced [Inspect Record];
                [P7] replaced_job_is_shown_as_it_is_now [Inspect Record];
                [P7] job_is_replaced_when_the_caller_commits [Transaction Record];
            }
            results {
                [P12] job_that_was_never_pushed_is_absent [Results];
                [P12] unfinished_job_is_pending [Results];
                [P12] unfinished_job_tells_where_it_stands [Results Record];
                [P12] completed_job_tells_its_result [Results];
                [P12] result_of_every_byte_survives [Results];
                [P12] largest_result_survives [Results];
                [P12] completed_job_without_a_result_is_known_while_it_is_kept [Results];
                [P12] completed_job_that_nobody_keeps_is_absent [Results];
                [P12] result_expires_with_its_time_to_live [Results];
                [P12] discarded_job_tells_its_failure_with_causes [Results];
                [P12] job_out_of_attempts_tells_its_last_failure [Results];
                [P9 P12] cancelled_job_tells_why [Results Record];
                [P9 P12] called_off_job_that_fails_ends_as_cancelled [Results Record];
                [P10 P12] expired_job_says_so [Results Record];
                [P10 P12] expired_job_that_was_looked_for_says_so [Results];
                [P12] poison_tells_of_its_crashes [Results];
                [P3 P12] stale_result_does_not_replace_a_newer_one [Results];
                [P12] answers_come_in_the_order_asked [Results];
                [P12] outcome_of_a_job_of_another_store_is_kept [Results];
                [P12] failure_of_a_job_of_another_store_is_kept [Results];
                [P12] later_attempt_of_a_kept_outcome_stands [Results];
                [P12 P15] repeated_keep_changes_nothing [Results];
                [P12] mark_of_a_pending_job_gives_way_to_its_outcome [Results];
                [P12] mark_is_absent_once_its_time_has_ended [Results];
                [P12] kept_failure_is_absent_once_its_time_has_ended [Results];
                [P5 P12] running_job_with_a_lapsed_lease_is_still_pending [Results Record];
            }
            limits {
                [P13] no_more_run_at_once_than_a_key_allows [Limiter];
                [P13] many_claims_at_once_never_exceed_a_limit [Limiter];
                [P13] claims_and_ends_at_the_same_time_lose_no_slot [Limiter];
                [P13] slot_is_free_once_its_lease_has_ended_however_it_did [Limiter];
                [P5 P13] lapsed_lease_holds_its_slot_until_it_is_reaped [Limiter];
                [P3 P13] jobs_of_one_claim_free_their_slots_one_by_one [Limiter];
                [P13] keys_do_not_stand_in_each_others_way [Limiter];
                [P13] key_is_one_for_all_queues_and_tasks [Limiter];
                [P13] different_keys_do_not_meet [Limiter];
                [P13] keys_take_turns_however_many_jobs_they_have [Limiter];
                [P13] large_claims_serve_every_key_before_one_has_its_second_turn [Limiter];
                [P13] lanes_that_wait_for_one_key_take_turns [Limiter];
                [P6 P13] order_holds_within_a_key [Limiter];
                [P13] weights_are_counted [Limiter];
                [P13] job_that_weighs_more_than_the_limit_runs_alone [Limiter];
                [P13] rate_allows_so_many_starts_in_its_time [Limiter];
                [P13] start_counts_though_the_job_was_given_back [Limiter];
                [P13] job_with_two_limits_waits_for_both [Limiter];
                [P13] waiting_for_a_limit_costs_no_attempt [Limiter];
                [P13] jobs_without_limits_of_the_same_queue_run_on [Limiter];
                [P13] neither_side_of_a_queue_starves_the_other [Limiter];
                [P1 P13] everything_about_limits_survives_a_retry [Limiter];
                [P13] failed_job_waits_for_its_time_and_its_limit [Limiter];
                [P4 P13] delayed_job_with_a_limit_is_not_early [Limiter];
                [P13] limit_set_at_run_time_outweighs_what_jobs_ask_for [Limiter];
                [P13] run_time_outweighs_configuration [Limiter];
                [P13] limits_are_listed_by_key [Limiter];
                [P13] limit_that_nothing_counts_against_is_forgotten [Limiter];
                [P13] queue_has_a_limit_of_its_own [Limiter];
                [P13] job_that_asks_for_the_key_of_its_queue_counts_once [Limiter];
                [P13] queue_has_a_rate_of_its_own [Limiter];
                [P13] blocked_keys_do_not_hide_one_that_is_free [Limiter];
                [P7 P13] unique_key_and_limit_go_together [Limiter];
                [P1 P13 P15] repeated_push_of_limited_jobs_adds_nothing [Limiter];
                [P1 P13] job_is_not_added_with_limits_and_without [Limiter];
                [P11 P13] paused_queue_hands_out_no_limited_jobs [Limiter Inspect];
                [P9 P13] limited_job_that_waits_is_called_off [Limiter];
                [P10 P13] limited_job_that_waits_expires [Limiter];
                [P13] limited_jobs_are_shown_and_counted [Limiter Inspect];
                [P13] limited_jobs_are_changed_by_hand [Limiter Inspect];
                [P13] end_of_a_job_wakes_who_waits_for_its_slot [Limiter Wake];
                [P13] raised_limit_wakes_who_waits_for_it [Limiter Wake];
                [P13] limited_job_is_not_taken_by_its_id [Limiter Ledger];
                [P1 P13] limited_job_of_a_transaction_runs_once_it_is_committed [Limiter Transaction];
                [P13] limits_hold_for_every_handle_on_the_store [Limiter Reopen];
                [P13] limits_are_kept_in_any_order_of_claims_and_ends [Limiter];
            }
            wake {
                [] push_wakes_those_who_wait_for_its_queue [Wake];
                [] push_wakes_each_queue_of_its_batch [Wake];
                [] every_listener_hears [Wake];
                [] hint_waits_for_a_listener_that_is_busy [Wake];
                [] waiting_for_a_hint_may_be_given_up_and_begun_again [Wake];
                [] listener_made_after_another_was_dropped_hears [Wake];
                [] job_that_goes_back_wakes [Wake];
                [] rescue_wakes [Wake];
                [] kept_outcome_wakes [Wake Results];
                [] cancelling_a_waiting_job_wakes_who_awaits_it [Wake Record];
                [] cancelling_a_running_job_wakes_its_worker [Wake Record];
                [] pausing_and_resuming_wakes_workers [Wake Inspect];
                [P11] resumed_queue_wakes_a_waiting_claimer_who_gets_its_jobs [Wake Inspect];
                [] hint_of_another_store_is_passed_on [Wake];
                [] listener_ends_when_the_store_is_closed [Wake];
            }
            leader {
                [] first_to_ask_leads_alone [Leader];
                [P15] leader_stays_while_it_renews [Leader];
                [] silent_leader_is_followed_by_another [Leader];
                [] leader_that_resigns_is_followed_at_once [Leader];
                [] leader_that_comes_back_has_a_higher_term [Leader];
                [P15] resigning_without_leading_changes_nothing [Leader];
                [] roles_have_leaders_of_their_own [Leader];
                [] one_of_many_who_ask_at_the_same_time_leads [Leader];
            }
            inspect {
                [] empty_store_lists_nothing [Inspect];
                [P1] job_is_shown_whole [Inspect];
                [] jobs_are_found_by_state [Inspect];
                [] job_becomes_available_by_time_alone [Inspect];
                [] jobs_are_found_by_id_queue_task_and_tag [Inspect];
                [] jobs_are_found_by_when_they_came [Inspect];
                [] every_part_of_a_filter_keeps_jobs_from_a_list [Inspect];
                [] every_part_of_a_filter_keeps_jobs_from_being_cancelled [Inspect];
                [] every_part_of_a_filter_keeps_jobs_from_being_retried [Inspect];
                [] every_part_of_a_filter_keeps_jobs_from_being_deleted [Inspect];
                [] pages_go_from_newest_to_oldest_without_gap [Inspect];
                [] page_after_an_unknown_job_goes_on_from_its_place [Inspect];
                [] queues_are_counted_by_state [Inspect];
                [] queue_tells_how_long_its_oldest_job_has_waited [Inspect];
                [] queue_whose_jobs_have_ended_is_not_listed [Inspect];
                [P11] paused_queue_hands_out_nothing [Inspect];
                [P11] resumed_queue_hands_out_again [Inspect];
                [P11] paused_queue_takes_jobs_and_lets_running_ones_end [Inspect];
                [P11] paused_queue_is_heard_of_by_its_workers_only [Inspect];
                [P11] paused_queue_is_listed_even_when_empty [Inspect];
                [P11 P15] repeated_pause_changes_nothing [Inspect];
                [] workers_are_listed_while_their_hearts_beat [Inspect];
                [P15] worker_that_says_goodbye_is_not_listed [Inspect];
                [] retry_by_hand_gives_a_fresh_budget [Inspect];
                [] retry_by_hand_takes_terminal_jobs_only [Inspect];
                [P12] retried_job_is_pending_again [Results Inspect];
                [P9] cancel_by_filter_calls_off_what_has_not_ended [Inspect];
                [P9 P15] job_is_called_off_once [Inspect];
                [P7] jobs_that_are_passed_over_do_not_hide_others [Inspect];
                [] delete_removes_all_but_running_jobs [Results Inspect];
                [] change_is_bounded_and_says_that_there_is_more [Inspect];
                [] change_touches_only_what_matches [Inspect];
                [P16] prune_removes_what_is_old_enough [Inspect];
                [P16] prune_tells_kinds_of_endings_apart [Inspect];
                [P16] prune_is_bounded_and_says_that_there_is_more [Inspect];
                [P12 P16] expired_result_is_absent_once_it_is_pruned [Results Inspect];
            }
            ledger {
                [] job_taken_by_its_id_is_leased [Ledger];
                [] what_can_not_run_is_passed_over [Ledger];
                [P8] job_of_an_unknown_task_is_not_taken [Ledger];
                [] expired_and_paused_jobs_are_not_taken [Ledger Inspect];
                [] job_is_taken_once_by_many_at_once [Ledger];
                [] empty_list_is_answered_empty [Ledger];
            }
            transaction {
                [P1] job_is_there_once_the_caller_commits [Transaction];
                [P1] job_is_not_there_before_the_caller_commits [Inspect Transaction];
                [P1] job_is_gone_when_the_caller_rolls_back [Transaction];
                [P1] job_is_gone_when_the_transaction_is_dropped [Transaction];
                [P1] all_pushes_of_one_transaction_are_committed_together [Transaction];
                [P1 P15] batch_is_recognised_after_the_commit [Transaction];
                [P1] batch_that_was_rolled_back_is_new_again [Transaction];
                [P1 P7] taken_key_is_a_conflict_that_leaves_the_transaction_whole [Transaction];
                [P7] key_taken_in_a_transaction_is_free_after_its_rollback [Transaction];
                [P1] connection_of_another_driver_is_refused [Transaction];
            }
            store {
                [P1] store_says_what_it_is;
                [] closed_store_refuses_every_call;
                [] closed_store_refuses_to_tell_results [Results];
                [] closed_store_refuses_to_be_inspected [Inspect];
                [] closed_store_refuses_to_elect [Leader];
                [] closed_store_refuses_to_listen [Wake];
                [P15] closing_twice_is_fine;
                [P1 P17] jobs_outlive_the_handle_that_pushed_them [Reopen Clock];
                [P3 P5] lease_outlives_the_handle_that_claimed_it [Reopen Leases];
                [P1 P15] repeated_batch_is_recognised_by_another_handle [Reopen Record];
                [P12 P17] result_outlives_the_handle_that_settled_it [Results Reopen];
                [P2 P3] handles_see_each_others_jobs [Reopen Leases];
                [P17] closing_one_handle_leaves_the_others_open [Reopen];
                [P1 P17] handles_opened_at_the_same_time_all_work [Reopen];
            }
        }
    };
}
