//! What the task table alone costs: without processes, pickling, a core or a lock.

use divan::Bencher;
use divan::counter::ItemsCount;
use paceline_ipc::memory::{Mapping, MemoryFile};
use paceline_ipc::table::Feeder;
use paceline_ipc::{SLOTS, TaskTable};
use std::sync::atomic::{AtomicBool, Ordering};

fn main() {
    divan::main();
}

struct Mapped(Mapping);

impl Mapped {
    fn new() -> Self {
        let size = size_of::<TaskTable>() as u64;
        Self(MemoryFile::create("bench", size).unwrap().map(0, size).unwrap())
    }
}

impl std::ops::Deref for Mapped {
    type Target = TaskTable;

    #[expect(clippy::cast_ptr_alignment, reason = "mappings begin at a page")]
    fn deref(&self) -> &TaskTable {
        // SAFETY: the mapping is as large as a table and all zero, which is an empty one.
        unsafe { &*self.0.address().cast::<TaskTable>() }
    }
}

/// Publish, claim, finish and drain on one thread, so many at a time: what is left when nobody waits for anybody.
#[divan::bench(args = [1, 64, SLOTS])]
fn there_and_back(bencher: Bencher<'_, '_>, tasks: usize) {
    let (table, mut feeder) = (Mapped::new(), Feeder::new(SLOTS));
    bencher.counter(ItemsCount::new(tasks)).bench_local(|| {
        for _ in 0..tasks {
            table.publish(&mut feeder, |_| ()).unwrap();
        }
        while let Some(claim) = table.claim(0) {
            table.finish(claim);
        }
        let mut drained = 0;
        table.drain(&mut feeder, |_, _, _| drained += 1);
        assert_eq!(drained, tasks);
    });
}

/// One task to another thread and its answer back, both sides searching: the bound of any round trip.
#[divan::bench]
fn ping_pong(bencher: Bencher<'_, '_>) {
    let (table, mut feeder, done) = (Mapped::new(), Feeder::new(SLOTS), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Some(claim) = table.wait(0, || !done.load(Ordering::Relaxed), None) {
                    table.finish(claim);
                    table.idle.wake_parent(table.ready_hint());
                }
            }
        });
        table.idle.begin_leading();
        bencher.bench_local(|| {
            table.publish(&mut feeder, |_| ()).unwrap();
            table.wake_worker();
            let mut drained = 0;
            while drained == 0 {
                table.drain(&mut feeder, |_, _, _| drained += 1);
                std::hint::spin_loop();
            }
        });
        done.store(true, Ordering::Relaxed);
        table.idle.dismiss(0);
    });
}
