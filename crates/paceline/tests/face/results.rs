//! Results that are not waited for at once: asked, awaited under any runtime, answered by callbacks.

use crate::pools::{DEADLINE, eventually, on_every_backend, processes, threads};
use crate::tasks::{await_file, fussy, half, sleep, square};
use paceline::{AsyncResult, TaskError};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread::{Thread, park_timeout};
use std::time::Duration;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest of runtimes.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        let began = std::time::Instant::now();
        park_timeout(DEADLINE);
        assert!(began.elapsed() < DEADLINE, "nobody has woken the future");
    }
}

#[test]
fn result_can_be_looked_at_waited_for_and_taken() {
    on_every_backend(
        |builder| builder,
        |pool| {
            let slow = pool.apply_async(sleep, (100,));
            if !slow.ready() {
                assert!(!slow.successful());
                slow.wait_timeout(Duration::from_millis(1));
            }
            slow.wait();
            assert!(slow.ready() && slow.successful() && slow.wait_timeout(Duration::ZERO));
            assert_eq!(slow.get(), Ok(100));
            let failed = pool.apply_async(fussy, (13,));
            failed.wait();
            assert!(failed.ready() && !failed.successful());
            assert!(matches!(failed.get(), Err(TaskError::Panicked { .. })));
        },
    );
}

#[test]
fn wait_ends_when_its_time_is_over() {
    for pool in [processes(), threads()] {
        let slow = pool.apply_async(sleep, (400,));
        assert!(!slow.wait_timeout(Duration::from_millis(20)));
        assert_eq!(slow.get(), Ok(400));
    }
}

#[test]
fn results_can_be_awaited_without_any_runtime() {
    on_every_backend(
        |builder| builder,
        |pool| {
            let sum = block_on(async {
                let first = pool.apply_async(sleep, (30,));
                let second = pool.map_async(square, 0..100);
                assert!(pool.apply_async(fussy, (13,)).await.is_err());
                Ok::<_, TaskError>(first.await? + second.await?.len() as u64)
            });
            assert_eq!(sum, Ok(130));
        },
    );
}

#[test]
fn many_results_are_awaited_side_by_side_under_tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    for pool in [processes(), threads()] {
        runtime.block_on(async {
            let calls: Vec<_> = (0..500).map(|number| tokio::spawn(pool.apply_async(half, (number,)))).collect();
            for (number, call) in (0..).zip(calls) {
                let waited = tokio::time::timeout(DEADLINE, call).await.expect("a future hangs");
                assert_eq!(waited.unwrap().unwrap().is_ok(), number % 2 == 0);
            }
            // One that is let go of takes nobody with it.
            let slow = tokio::time::timeout(Duration::from_millis(1), pool.apply_async(sleep, (200,))).await;
            assert!(slow.is_err());
            assert_eq!(pool.apply_async(square, (3,)).await, Ok(9));
        });
    }
}

#[test]
fn future_that_moves_to_another_task_wakes_that_one() {
    let pool = processes();
    let mut slow = Box::pin(pool.apply_async(sleep, (100,)));
    assert!(slow.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(block_on(slow), Ok(100));
}

/// Its clone is made while the future's lock is to be taken, its call when the result is there.
struct Crossing {
    polling: Mutex<()>,
    is_called: AtomicBool,
}

impl Wake for Crossing {
    fn wake(self: Arc<Self>) {
        self.is_called.store(true, Ordering::SeqCst);
        // As a runtime does that polls where it is woken.
        drop(self.polling.lock());
    }
}

/// A waker that does something when it is cloned, which is between a look at the result and the note of who is to be woken.
fn on_clone(act: &dyn Fn(), poll: impl FnOnce(&mut Context<'_>)) {
    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: the waker that is cloned lives no longer than `act`, to which this points.
        unsafe { (*data.cast::<&dyn Fn()>())() };
        RawWaker::new(std::ptr::null(), &IDLE)
    }
    unsafe fn idle(_: *const ()) {}
    static IDLE: RawWakerVTable = RawWakerVTable::new(|_| RawWaker::new(std::ptr::null(), &IDLE), idle, idle, idle);
    static ACTING: RawWakerVTable = RawWakerVTable::new(clone, idle, idle, idle);
    // SAFETY: every function takes what is given to it, from any thread.
    let waker = unsafe { Waker::from_raw(RawWaker::new((&raw const act).cast(), &ACTING)) };
    poll(&mut Context::from_waker(&waker));
}

#[test]
fn waker_that_waits_for_who_polls_holds_nobody_up() {
    for pool in [processes(), threads()] {
        let folder = tempfile::tempdir().unwrap();
        let gate = folder.path().join("gate");
        let mut result = Box::pin(pool.apply_async(await_file, (gate.to_string_lossy().into_owned(),)));
        let crossing = Arc::new(Crossing { polling: Mutex::new(()), is_called: AtomicBool::new(false) });
        let waker = Waker::from(Arc::clone(&crossing));
        let (sender, receiver) = channel();
        let poller = std::thread::spawn(move || {
            let polling = crossing.polling.lock().unwrap();
            assert!(result.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            // The result comes, and its waker is called, while the next poll is between its look and its note.
            let let_end = || {
                std::fs::write(&gate, "").unwrap();
                eventually("the waker is called", || crossing.is_called.load(Ordering::SeqCst));
            };
            on_clone(&let_end, |context| assert_eq!(result.as_mut().poll(context), Poll::Ready(Ok(()))));
            drop(polling);
            sender.send(()).unwrap();
        });
        receiver.recv_timeout(DEADLINE + DEADLINE).expect("the poll and the waker wait for each other");
        poller.join().unwrap();
    }
}

#[test]
fn callbacks_have_each_result_once_and_join_waits_for_them() {
    on_every_backend(
        |builder| builder,
        |pool| {
            let (sender, receiver) = channel();
            for number in 10..20 {
                let sender = sender.clone();
                pool.apply_async(fussy, (number,)).callback(move |result| sender.send((number, result)).unwrap());
            }
            drop(sender);
            pool.join();
            let mut told: Vec<_> = receiver.try_iter().collect();
            told.sort_by_key(|(number, _)| *number);
            assert_eq!(told.len(), 10);
            for (number, result) in told {
                if number == 13 { assert!(result.is_err()) } else { assert_eq!(result, Ok(number)) }
            }
        },
    );
}

#[test]
fn callback_that_panics_or_uses_the_pool_harms_nobody() {
    for pool in [processes(), threads()] {
        let (sender, receiver) = channel();
        let (again, in_callback) = (pool.clone(), sender.clone());
        pool.apply_async(square, (2,)).callback(|_| panic!("a callback that panics, on purpose"));
        let ended = pool.apply_async(square, (2,));
        ended.wait();
        ended.callback(|_| panic!("another one, at once"));
        pool.apply_async(square, (2,)).callback(move |result| {
            again.apply_async(square, (result.unwrap(),)).callback(move |result| in_callback.send(result).unwrap());
        });
        assert_eq!(receiver.recv_timeout(DEADLINE).unwrap(), Ok(16));
        // The callback that ended last had the last handle but this.
        drop(pool);
    }
}

#[test]
fn results_are_plain_values_that_go_anywhere() {
    fn goes_anywhere<T: Send + Sync + Unpin + 'static>(value: T) -> T {
        value
    }
    let pool = goes_anywhere(processes());
    let result: AsyncResult<Vec<i64>> = goes_anywhere(pool.map_async(square, [4]));
    assert_eq!(std::thread::spawn(|| result.get()).join().unwrap(), Ok(vec![16]));
}
