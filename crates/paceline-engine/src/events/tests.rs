//! The tests of the queue alone; with workers, `tests/engine/events.rs` has those.

use super::*;

fn started(pid: i32) -> Happening {
    Happening::WorkerStarted { at_ns: pid.unsigned_abs().into(), pid }
}

fn failed(evidence: usize) -> Happening {
    Happening::Ended {
        items: Items { function: "f".into(), first: 0, count: 1, attempt: 0, origin: 0 },
        pid: 1,
        submitted_ns: 0,
        began_ns: 1,
        ended_ns: 2,
        fate: Fate::Raised,
        failures: 1,
        evidence: Some(vec![0; evidence].into()),
    }
}

fn pids(told: &[Happening]) -> Vec<i32> {
    let pid = |one: &Happening| if let Happening::WorkerStarted { pid, .. } = one { *pid } else { -1 };
    told.iter().map(pid).collect()
}

fn all(inbox: &Inbox) -> Vec<Happening> {
    std::iter::from_fn(|| inbox.next(Some(Duration::ZERO)).filter(|told| !told.is_empty())).flatten().collect()
}

fn subscribed() -> (Events, Arc<Inbox>) {
    let mut events = Events::default();
    assert!(!events.is_wanted());
    let inbox = events.subscribe(0, false);
    assert!(events.is_wanted());
    (events, inbox)
}

#[test]
fn each_subscriber_is_told_everything_in_order() {
    let (mut events, first) = subscribed();
    events.tell(started(1));
    let second = events.subscribe(0, false);
    for pid in 2..=3 {
        events.tell(started(pid));
    }
    assert_eq!(pids(&all(&first)), [1, 2, 3]);
    assert_eq!(pids(&all(&second)), [2, 3], "what happened before it asked is not told");
    events.unsubscribe(&first);
    events.tell(started(4));
    assert_eq!(first.next(None), None);
    assert_eq!(pids(&all(&second)), [4]);
}

#[test]
fn full_queue_counts_what_it_misses_and_says_so_in_its_place() {
    let (mut events, inbox) = subscribed();
    let most = i32::try_from(MOST_WAITING).unwrap();
    for pid in 0..most + 7 {
        events.tell(started(pid));
    }
    let first = inbox.next(None).unwrap();
    assert_eq!(pids(&first), (0..1024).collect::<Vec<_>>());
    events.tell(started(-2));
    let rest = all(&inbox);
    let told = usize::try_from(most).unwrap() - 1024;
    assert_eq!(pids(&rest[..told]), (1024..most).collect::<Vec<_>>());
    let missed = Happening::Missed { at_ns: most.unsigned_abs().into(), count: 7 };
    assert_eq!(rest[told..], [missed, started(-2)], "what is missing is missing between these two");
}

#[test]
fn what_was_missed_last_is_told_before_the_end() {
    let (mut events, inbox) = subscribed();
    for pid in 0..=i32::try_from(MOST_WAITING).unwrap() {
        events.tell(started(pid));
    }
    events.end(9, true);
    let told = all(&inbox);
    let (last, before) = told.split_last().unwrap();
    assert_eq!(*last, Happening::Closed { at_ns: 9, is_broken: true });
    assert!(matches!(before.last(), Some(Happening::Missed { count: 1, .. })));
    assert_eq!(before.len(), MOST_WAITING + 1);
    assert_eq!(inbox.next(None), None);
}

#[test]
fn what_was_missed_is_told_though_nothing_follows() {
    let (mut events, inbox) = subscribed();
    assert_eq!(MOST_WAITING % AT_ONCE, 0, "the queue can be emptied by whole batches");
    for pid in 0..=i32::try_from(MOST_WAITING).unwrap() {
        events.tell(started(pid));
    }
    events.unsubscribe(&inbox);
    assert!(!inbox.is_over());
    let told = all(&inbox);
    assert!(matches!(told.last(), Some(Happening::Missed { count: 1, .. })));
    assert!(inbox.is_over());
}

#[test]
fn one_who_asks_after_the_end_is_told_of_it_alone() {
    let (mut events, _) = subscribed();
    events.end(1, false);
    events.tell(started(1));
    let late = events.subscribe(5, false);
    assert_eq!(late.next(None), Some(vec![Happening::Closed { at_ns: 5, is_broken: false }]));
    assert_eq!(late.next(None), None);
}

#[test]
fn what_is_about_a_nameless_worker_waits_for_its_name_and_all_that_follows_with_it() {
    let (mut events, first) = subscribed();
    events.tell_of(started(0), Some(7));
    events.tell(started(2));
    let second = events.subscribe(0, false);
    events.tell_of(started(0), Some(8));
    events.unsubscribe(&first);
    events.unsubscribe(&first);
    events.tell(started(4));
    assert_eq!((all(&first), all(&second)), (Vec::new(), Vec::new()));
    events.name(7, 1);
    assert_eq!((pids(&all(&first)), pids(&all(&second))), (vec![1, 2], Vec::new()));
    assert!(!first.is_over(), "something is still to be told to it");
    events.name(8, 3);
    assert_eq!((pids(&all(&first)), pids(&all(&second))), (vec![3], vec![3, 4]));
    assert!(first.is_over());
    events.tell_of(started(0), Some(9));
    events.end(5, false);
    assert_eq!(pids(&all(&second)), [0, -1], "at the end it is told as it is");
    events.unsubscribe(&second);
    assert!(!events.is_wanted());
}

#[test]
fn evidence_of_failures_is_bounded_and_events_are_not_lost_for_it() {
    let (mut events, inbox) = subscribed();
    let count = 2 * MOST_EVIDENCE / LONGEST_EVIDENCE;
    for _ in 0..count {
        events.tell(failed(LONGEST_EVIDENCE));
    }
    let told = all(&inbox);
    assert_eq!(told.len(), count);
    assert_eq!(told.iter().map(Happening::evidence_bytes).sum::<usize>(), MOST_EVIDENCE);
    assert_eq!(inbox.lock().evidence_bytes, 0);
    assert!(is_evidence(LONGEST_EVIDENCE) && !is_evidence(LONGEST_EVIDENCE + 1));
}

#[test]
fn one_who_waits_is_called_and_gathers() {
    let (mut events, inbox) = subscribed();
    let subscriber = {
        let inbox = Arc::clone(&inbox);
        std::thread::spawn(move || std::iter::from_fn(|| inbox.next(None)).map(|told| told.len()).collect::<Vec<_>>())
    };
    for pid in 0..10_000 {
        events.tell(started(pid));
    }
    events.end(1, false);
    let batches = subscriber.join().unwrap();
    assert_eq!(batches.iter().sum::<usize>(), 10_001);
    assert!(batches.iter().all(|count| (1..=AT_ONCE).contains(count)), "{batches:?}");
}

#[test]
fn patience_ends_a_wait_and_nothing_is_lost() {
    let (mut events, inbox) = subscribed();
    assert_eq!(inbox.next(Some(Duration::from_millis(1))), Some(Vec::new()));
    events.tell(started(1));
    assert_eq!(pids(&inbox.next(Some(Duration::ZERO)).unwrap()), [1]);
}

#[test]
fn whoever_waits_until_all_is_told_waits_for_the_subscriber_to_be_done() {
    let (mut events, inbox) = subscribed();
    assert!(inbox.wait_until_told(Duration::ZERO), "there is nothing to tell");
    events.tell(started(1));
    events.end(2, false);
    assert!(!inbox.wait_until_told(Duration::ZERO));
    let taken = std::thread::scope(|scope| {
        let taken = scope.spawn(|| inbox.next(None).unwrap().len()).join().unwrap();
        assert!(!inbox.wait_until_told(Duration::ZERO), "it was given, but is not done with");
        scope.spawn(|| inbox.next(None));
        assert!(inbox.wait_until_told(Duration::from_secs(30)));
        taken
    });
    assert_eq!(taken, 2);
}

#[test]
fn subscriber_does_not_wait_for_itself() {
    let (mut events, inbox) = subscribed();
    events.tell(started(1));
    assert_eq!(pids(&inbox.next(None).unwrap()), [1]);
    assert!(inbox.wait_until_told(Duration::from_secs(3_600)), "by this very thread it is not passed on yet");
}
