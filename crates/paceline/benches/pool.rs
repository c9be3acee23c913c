//! What a pool costs beside what else runs things on several cores: rayon, `std::thread`, and tokio's blocking threads.
//!
//! Three questions, each of all of them: how long do 20,000 calls take that do nothing, sent one by one; a map over 100,000
//! small items; and 200 calls that wait for something. Workers have been born before the clock runs.
//!
//! They do not do the same. Rayon and tokio run closures on threads of this process: a crash takes everything with it, and
//! nothing can be stopped. Processes pay for being apart by bytes that go to and fro.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use paceline::{Backend, Pool};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;

const CALLS: usize = 20_000;
const ITEMS: u64 = 100_000;
const WAITS: usize = 200;
const WAIT: Duration = Duration::from_millis(2);
/// Of those who compute, as many as the machine has cores; of those who wait, more.
const WAITERS: usize = 16;

fn main() {
    paceline::init();
    divan::main();
}

#[paceline::task]
fn nothing() {}

#[paceline::task]
fn small(number: u64) -> u64 {
    (0..20).fold(number, |mixed, _| mixed.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17))
}

#[paceline::task]
fn wait() {
    thread::sleep(WAIT);
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn pool(backend: Backend, workers: usize) -> Pool {
    let pool = Pool::builder().backend(backend).workers(workers).build().unwrap();
    // Each has something to do for as long as it takes for all to come.
    pool.with_chunk_size(1).starmap(wait, vec![(); 20 * workers]).unwrap();
    pool
}

fn threads_of_rayon(workers: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(workers).build().unwrap()
}

fn threads_of_tokio(workers: usize) -> Runtime {
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(workers).enable_time().build().unwrap()
}

/// Sends calls one by one, and takes the results.
fn call(pool: &Pool, calls: usize, function: fn(&Pool) -> paceline::AsyncResult<()>) {
    let results: Vec<_> = (0..calls).map(|_| function(pool)).collect();
    for result in results {
        result.get().unwrap();
    }
}

fn call_on_rayon(pool: &rayon::ThreadPool, calls: usize, function: fn()) {
    let results: Vec<_> = (0..calls)
        .map(|_| {
            let (sender, receiver) = channel();
            pool.spawn(move || {
                function();
                sender.send(()).unwrap();
            });
            receiver
        })
        .collect();
    for result in results {
        result.recv().unwrap();
    }
}

fn call_on_tokio(runtime: &Runtime, calls: usize, function: fn()) {
    runtime.block_on(async {
        let results: Vec<_> = (0..calls).map(|_| tokio::task::spawn_blocking(function)).collect();
        for result in results {
            result.await.unwrap();
        }
    });
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

#[divan::bench_group(sample_count = 10, sample_size = 1)]
mod submit_20_000 {
    use super::{
        Backend, Bencher, CALLS, ItemsCount, call, call_on_rayon, call_on_tokio, cores, join, nothing, pool, thread,
        threads_of_rayon, threads_of_tokio,
    };

    #[divan::bench(args = [Backend::Processes, Backend::Threads])]
    fn paceline(bencher: Bencher, backend: Backend) {
        let pool = pool(backend, cores());
        bencher
            .counter(ItemsCount::new(CALLS))
            .bench_local(|| call(&pool, CALLS, |pool| pool.apply_async(nothing, ())));
    }

    #[divan::bench]
    fn rayon(bencher: Bencher) {
        let pool = threads_of_rayon(cores());
        bencher.counter(ItemsCount::new(CALLS)).bench_local(|| call_on_rayon(&pool, CALLS, nothing));
    }

    #[divan::bench]
    fn tokio(bencher: Bencher) {
        let runtime = threads_of_tokio(cores());
        bencher.counter(ItemsCount::new(CALLS)).bench_local(|| call_on_tokio(&runtime, CALLS, nothing));
    }

    /// A thread for each call, at most 100 at a time.
    #[divan::bench]
    fn std_thread(bencher: Bencher) {
        bencher.counter(ItemsCount::new(CALLS)).bench_local(|| {
            for _ in 0..CALLS / 100 {
                let threads: Vec<_> = (0..100).map(|_| thread::spawn(nothing)).collect();
                join(threads);
            }
        });
    }
}

#[divan::bench_group(sample_count = 10, sample_size = 1)]
mod map_100_000 {
    use super::{
        Backend, Bencher, ITEMS, IntoParallelIterator, ItemsCount, ParallelIterator, black_box, cores, pool, small,
        thread, threads_of_rayon,
    };

    #[divan::bench(args = [Backend::Processes, Backend::Threads])]
    fn paceline(bencher: Bencher, backend: Backend) {
        let pool = pool(backend, cores());
        bencher.counter(ItemsCount::new(ITEMS)).bench_local(|| pool.map(small, 0..ITEMS).unwrap());
    }

    #[divan::bench]
    fn rayon(bencher: Bencher) {
        let pool = threads_of_rayon(cores());
        let map = || pool.install(|| (0..ITEMS).into_par_iter().map(small).collect::<Vec<_>>());
        bencher.counter(ItemsCount::new(ITEMS)).bench_local(map);
    }

    /// A range of items for each thread.
    #[divan::bench]
    fn std_thread(bencher: Bencher) {
        let share = ITEMS / cores() as u64;
        bencher.counter(ItemsCount::new(ITEMS)).bench_local(|| {
            let shares: Vec<_> = (0..cores() as u64)
                .map(|turn| thread::spawn(move || (turn * share..(turn + 1) * share).map(small).collect::<Vec<_>>()))
                .collect();
            shares.into_iter().flat_map(|share| share.join().unwrap()).collect::<Vec<_>>()
        });
    }

    #[divan::bench]
    fn serial(bencher: Bencher) {
        bencher.counter(ItemsCount::new(ITEMS)).bench_local(|| (0..black_box(ITEMS)).map(small).collect::<Vec<_>>());
    }
}

#[divan::bench_group(sample_count = 10, sample_size = 1)]
mod wait_200_times_2_ms {
    use super::{
        Backend, Bencher, ItemsCount, WAITERS, WAITS, call, call_on_rayon, call_on_tokio, join, pool, thread,
        threads_of_rayon, threads_of_tokio, wait,
    };

    #[divan::bench(args = [Backend::Processes, Backend::Threads])]
    fn paceline(bencher: Bencher, backend: Backend) {
        let pool = pool(backend, WAITERS);
        bencher.counter(ItemsCount::new(WAITS)).bench_local(|| call(&pool, WAITS, |pool| pool.apply_async(wait, ())));
    }

    #[divan::bench]
    fn rayon(bencher: Bencher) {
        let pool = threads_of_rayon(WAITERS);
        bencher.counter(ItemsCount::new(WAITS)).bench_local(|| call_on_rayon(&pool, WAITS, wait));
    }

    #[divan::bench]
    fn tokio(bencher: Bencher) {
        let runtime = threads_of_tokio(WAITERS);
        bencher.counter(ItemsCount::new(WAITS)).bench_local(|| call_on_tokio(&runtime, WAITS, wait));
    }

    #[divan::bench]
    fn std_thread(bencher: Bencher) {
        bencher.counter(ItemsCount::new(WAITS)).bench_local(|| {
            let threads: Vec<_> = (0..WAITS).map(|_| thread::spawn(wait)).collect();
            join(threads);
        });
    }
}
