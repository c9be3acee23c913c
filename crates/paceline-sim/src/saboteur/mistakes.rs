//! Owns the list of the mistakes that can be made, and who has to see each. Never makes one.

/// A kind of mistake, and the invariant that has to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sabotage {
    /// What is done wrong.
    pub mistake: Mistake,
    /// Who must notice.
    pub seen_by: &'static str,
}

macro_rules! mistakes {
    ($($(#[$doc:meta])+ $mistake:ident => $seen_by:ident,)+) => {
        /// What the saboteur does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mistake { $($(#[$doc])+ $mistake,)+ }

        /// Every kind of mistake, with the invariant that has to see it.
        pub const SABOTAGES: &[Sabotage] =
            &[$(Sabotage { mistake: Mistake::$mistake, seen_by: stringify!($seen_by) },)+];
    };
}

mistakes! {
    /// An item that is to be run again is not published, though the core thinks so.
    DropRepublish => no_item_is_forgotten,
    /// The same chunk is published twice.
    DoublePublish => table_is_never_overfull,
    /// Two chunks that follow each other are published in the wrong order.
    SwapPublishes => backlog_order_is_kept,
    /// The core believes that the table is bigger by one slot.
    BelieveInMoreRoom => table_is_never_overfull,
    /// The core believes that the table is smaller by one slot.
    BelieveInLessRoom => room_is_used,
    /// A measured job is treated as one of fixed size.
    TakeMeasuredForFixed => measured_jobs_keep_few_chunks_out,
    /// Chunks are one item bigger than the user fixed.
    EnlargeChunks => chunks_have_their_size,
    /// A report of an old assignment is taken for one of the current.
    TakeOldForNew => old_answers_change_nothing,
    /// The core is not told that a slot was given up.
    SwallowSlotLoss => table_is_never_overfull,
    /// A report of a finished chunk is lost.
    SwallowFinish => table_is_never_overfull,
    /// A job is said to end twice.
    DoubleFinish => jobs_end_once,
    /// Nobody is told that a job ended.
    DropFinish => jobs_end_once,
    /// A job that is complete is said to be cancelled.
    CallCompleteCancelled => cancelled_jobs_never_ran,
    /// A request to cancel is lost.
    SwallowCancel => cancelled_jobs_never_ran,
    /// A chunk that a worker has claimed is taken for one that was withdrawn.
    TakeKeptForWithdrawn => cancelled_jobs_never_ran,
    /// A chunk is asked back twice.
    WithdrawTwice => chunks_are_asked_back_for_a_cause,
    /// A cancel is given up at once, though it may succeed.
    GiveCancelUp => nothing_goes_out_while_a_cancel_is_decided,
    /// An urgent job is taken for one like all others.
    IgnorePriority => backlog_order_is_kept,
    /// Jobs that want tokens are taken for such as want none.
    IgnoreTokens => tokens_are_given_in_turn,
    /// The core believes that there are twice as many tokens of each kind but devices.
    BelieveInMoreTokens => tokens_are_given_in_turn,
    /// Chunks are said to have the next device.
    BlameOtherDevice => tokens_are_given_in_turn,
    /// What is less urgent is left in the table before something urgent.
    OvertakeNothing => urgent_items_go_first,
    /// Chunks that were asked back are taken for answered, but for the first.
    RushOvertaking => overtaken_chunks_keep_their_order,
    /// A closed pool cancels nothing, though asked to.
    CancelNothingAtClose => closing_can_cancel_what_waits,
    /// The item next to the one that ran is failed.
    FailNeighbour => only_doomed_items_fail,
    /// An item's failure is not told.
    DropFail => only_doomed_items_fail,
    /// Items are run again more often than the user allowed.
    AllowMoreRetries => items_run_again_only_for_a_cause,
    /// Items fail though they may be run again.
    AllowFewerRetries => only_doomed_items_fail,
    /// Items that a lost worker had finished are taken for not begun.
    ForgetFinishedItems => only_doomed_items_fail,
    /// One item more than a lost worker had finished is taken for finished.
    InventFinishedItem => no_item_is_forgotten,
    /// What a lost worker held is forgotten.
    ForgetHeld => no_item_is_forgotten,
    /// Of several chunks that a lost worker held, all but the first are forgotten.
    ForgetOthersHeld => no_item_is_forgotten,
    /// A chunk that a lost worker had only claimed is taken for begun.
    TakeClaimedForBegun => only_doomed_items_fail,
    /// A chunk that a lost worker had begun is taken for one that it had only claimed.
    TakeBegunForClaimed => items_run_again_only_for_a_cause,
    /// Of the items that ran side by side in a lost worker, all but the first are taken for not begun.
    TakeSideBySideForInTurn => items_run_again_only_for_a_cause,
    /// A worker is started twice in a seat.
    DoubleStart => seats_are_in_order,
    /// A seat that fell empty is not filled.
    DropStart => seats_are_in_order,
    /// A worker is not told to leave.
    DropStop => nothing_gets_stuck,
    /// A worker is not killed.
    DropKill => nothing_gets_stuck,
    /// A death is taken for a failed start.
    TakeDeathForFailedStart => pool_breaks_for_a_cause,
    /// Deaths before ready are taken for orderly exits.
    TakeDeathForRetirement => pool_breaks_for_a_cause,
    /// Nobody is told that the pool ended.
    DropEnd => nothing_gets_stuck,
    /// The pool is said to end twice.
    DoubleEnd => pool_ends_once,
    /// The core is not told that the pool was closed.
    SwallowClose => pool_ends_once,
    /// Nothing has a limit of time.
    IgnoreLimit => looks_are_asked_for_while_needed,
    /// Nothing is asked to stop at its limit, nor ended.
    LetOverrun => overdue_items_are_stopped_in_time,
    /// Items may run for half as long as the user allowed.
    HalveLimit => nothing_is_stopped_before_its_time,
    /// Items are taken for having begun a while before they did.
    BackdateBeginning => nothing_is_stopped_before_its_time,
    /// The item after the one that overran is asked to stop.
    StopNeighbour => nothing_is_stopped_before_its_time,
    /// An item is asked to stop twice.
    StopTwice => nothing_is_stopped_before_its_time,
    /// A worker is ended for an item that was not asked to stop.
    EndWithoutAsking => items_are_asked_before_they_are_ended,
    /// Items that were asked to stop have no time to do so.
    AllowNoGrace => items_are_asked_before_they_are_ended,
    /// A worker is ended for the item after the one that was asked to stop.
    EndNeighbour => items_are_asked_before_they_are_ended,
    /// A worker whose item does not stop is left alone.
    NeverEnd => overdue_items_are_stopped_in_time,
    /// The core is not told what was seen of the chunks.
    SwallowSighting => overdue_items_are_stopped_in_time,
    /// Every chunk is taken for not having got any further.
    SightNoProgress => nothing_is_stopped_before_its_time,
    /// The core is not told that time has passed.
    SwallowTimePassed => looks_are_asked_for_while_needed,
    /// Looks are asked for later than they are needed.
    LookTooLate => looks_are_asked_for_while_needed,
    /// Looks are asked for though nothing needs them.
    LookForNothing => looks_are_asked_for_while_needed,
    /// An item that overran is said to have failed because its worker died.
    BlameWorker => only_doomed_items_fail,
    /// An item whose worker died is said to have overrun.
    BlameItem => innocent_items_are_never_failed_for_a_stop,
    /// The outcome of a failed item that is run again is kept.
    ForgetNothing => forgotten_outcomes_are_those_run_again,
    /// The outcome of the item after the one that is run again is forgotten.
    ForgetNeighbour => forgotten_outcomes_are_those_run_again,
    /// The core is not told of failed items.
    SwallowFailure => forgotten_outcomes_are_those_run_again,
    /// Failures that would come again are taken for such as may pass.
    TakeLastingForPassing => forgotten_outcomes_are_those_run_again,
    /// Items are run again after every trouble, whatever the user named.
    RetryEverything => items_run_again_only_for_a_cause,
    /// Items are run again after no trouble, whatever the user named.
    RetryNothing => only_doomed_items_fail,
    /// Items are run again at once.
    IgnoreBackoff => retries_wait_out_their_backoff,
    /// Items wait for longer than their backoff.
    RestTooLong => retries_wait_out_their_backoff,
    /// What is to run alone is run like anything else.
    KeepCompany => what_runs_alone_runs_alone,
    /// What need not run alone has to.
    KeepAllAlone => no_item_is_forgotten,
    /// Failed items are not counted.
    CountNoFailures => jobs_with_too_many_failures_are_given_up,
    /// One failure fewer than may be is too many.
    GiveUpTooEarly => jobs_with_too_many_failures_are_given_up,
    /// One failure too many is taken for one that may be.
    GiveUpTooLate => jobs_with_too_many_failures_are_given_up,
    /// A job that was given up is said to be complete.
    CallGivenUpComplete => jobs_with_too_many_failures_are_given_up,
    /// A cancel that stops what runs is taken for one that does not.
    SpareRunning => stopped_jobs_end_as_cancelled,
    /// A cancel that stops nothing is taken for one that does.
    StopRunning => cancelled_jobs_never_ran,
    /// A cancel that stops what runs is lost.
    SwallowForcedCancel => stopped_jobs_end_as_cancelled,
    /// What runs of a cancelled job is not asked to stop.
    LetCancelledRun => overdue_items_are_stopped_in_time,
    /// The core is not told that a worker outgrew its memory.
    SwallowOutgrowth => seats_are_in_order,
    /// A worker is killed as often as it is said to have outgrown its memory.
    KillAgain => seats_are_in_order,
    /// No start has a limit.
    IgnoreStartLimit => looks_are_asked_for_while_needed,
    /// Workers may take half as long to start as the user allowed.
    HalveStartLimit => pool_breaks_for_a_cause,
    /// The pool is said to break because of the worker in the next seat.
    BlameOtherStart => pool_breaks_for_a_cause,
}
