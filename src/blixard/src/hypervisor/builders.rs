//! The threads that build for VMs, and remove what was built: what may take minutes.
//!
//! At most one of them works for a VM at a time: an agent that waited too long for its answer asks again while the first
//! build goes on, and two builds would make the same disks.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use blixard_node::hypervisor::{Done, HypervisorError};
use blixard_node::ids::OpId;
use blixard_node::input::Input;
use blixard_node::spec::{VmName, VmSpec};

use super::Sink;
use super::backend::{Backend, Job};

/// VMs worked for at a time.
const THREADS: usize = 2;

/// Tasks that wait for a thread, at most.
const WAITING_MAX: usize = 8_192;

/// What is to be done for a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Prepare,
    Purge,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) op: OpId,
    pub(super) kind: Kind,
    pub(super) name: VmName,
    pub(super) spec: Arc<VmSpec>,
    pub(super) artifact: Option<String>,
}

/// See the module. Dropped, its threads finish what they are at and end.
pub(super) struct Builders(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    bell: Condvar,
    backends: Arc<[Box<dyn Backend>]>,
    sink: Sink,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Task>,
    /// VMs that are worked for, and those of them whose things are being removed.
    busy: BTreeSet<VmName>,
    purging: BTreeSet<VmName>,
    closed: bool,
}

impl Builders {
    pub(super) fn spawn(backends: &Arc<[Box<dyn Backend>]>, sink: &Sink) -> io::Result<Self> {
        let (backends, sink) = (Arc::clone(backends), Arc::clone(sink));
        let shared = Shared { queue: Mutex::default(), bell: Condvar::new(), backends, sink };
        let builders = Self(Arc::new(shared));
        for _ in 0..THREADS {
            let shared = Arc::clone(&builders.0);
            thread::Builder::new().name("prepare".into()).spawn(move || shared.work())?;
        }
        Ok(builders)
    }

    /// Queues a task; it is completed by the sink. One for the same VM that still waits is forgotten: whoever asks
    /// again has given it up.
    pub(super) fn submit(&self, task: Task) {
        let mut queue = self.0.lock();
        queue.waiting.retain(|waiting| (waiting.kind, &waiting.name) != (task.kind, &task.name));
        if queue.waiting.len() >= WAITING_MAX {
            drop(queue);
            let reason = format!("{WAITING_MAX} VMs are waiting to be prepared on this host");
            let result = Err(HypervisorError::Prepare { reason });
            return (self.0.sink)(Input::HypervisorDone { op: task.op, result });
        }
        queue.waiting.push_back(task);
        drop(queue);
        self.0.bell.notify_one();
    }

    /// Whether what is kept for the VM is being removed, or will be.
    pub(super) fn is_purging(&self, name: &VmName) -> bool {
        let queue = self.0.lock();
        let waits = |task: &Task| task.kind == Kind::Purge && task.name == *name;
        queue.purging.contains(name) || queue.waiting.iter().any(waits)
    }
}

impl Drop for Builders {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.bell.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(task) = self.next() {
            let result = self.carry_out(&task);
            self.lock().purging.remove(&task.name);
            (self.sink)(Input::HypervisorDone { op: task.op, result });
            // The next task of this VM may have waited for this.
            self.lock().busy.remove(&task.name);
            self.bell.notify_all();
        }
    }

    /// The first task of a VM that nobody works for; none when there will be no more.
    fn next(&self) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            let free = queue.waiting.iter().position(|task| !queue.busy.contains(&task.name));
            if let Some(task) = free.and_then(|at| queue.waiting.remove(at)) {
                queue.busy.insert(task.name.clone());
                if task.kind == Kind::Purge {
                    queue.purging.insert(task.name.clone());
                }
                return Some(task);
            }
            queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn carry_out(&self, task: &Task) -> Result<Done, HypervisorError> {
        let backend = self.backends.iter().find(|backend| backend.name() == task.spec.hypervisor);
        match (task.kind, backend) {
            (Kind::Prepare, Some(backend)) => {
                let artifact = task.artifact.as_deref();
                let built = backend.prepare(Job { name: &task.name, spec: &task.spec, artifact })?;
                Ok(Done::Prepared { artifact: built })
            }
            (Kind::Prepare, None) => Err(HypervisorError::NoBackend { name: task.spec.hypervisor.clone() }),
            // All of them: before an update it may have been another's.
            (Kind::Purge, _) => {
                let purged = self.backends.iter().try_for_each(|backend| backend.purge(&task.name));
                purged.map(|()| Done::Purged).map_err(|reason| HypervisorError::Uncertain { reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use blixard_node::spec::{Labels, Resources};

    use super::super::run_dir::Plan;
    use super::*;

    /// Tells when a build begins, and ends it when told to.
    struct Slow(Sender<String>, Mutex<Receiver<()>>);

    impl Backend for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }
        fn probe(&self) -> Result<String, String> {
            Ok(String::new())
        }
        fn prepare(&self, job: Job<'_>) -> Result<Option<String>, HypervisorError> {
            self.0.send(format!("{} begins", job.name)).unwrap();
            if job.name.as_str() == "slow" {
                self.1.lock().unwrap().recv().unwrap();
            }
            Ok(None)
        }
        fn plan(&self, _: Job<'_>) -> Result<Plan, HypervisorError> {
            Ok(Plan::default())
        }
        fn purge(&self, name: &VmName) -> Result<(), String> {
            self.0.send(format!("{name} is purged")).unwrap();
            Ok(())
        }
    }

    fn task(op: u64, kind: Kind, name: &str) -> Task {
        let spec = VmSpec {
            resources: Resources { vcpus: 1, memory_mib: 1 },
            requires: Labels::new(),
            restart: Default::default(),
            failover: Default::default(),
            local_volume: false,
            hypervisor: "slow".into(),
            payload: String::new(),
            ports: Vec::new(),
        };
        Task { op: OpId(op), kind, name: VmName::new(name).unwrap(), spec: Arc::new(spec), artifact: None }
    }

    #[test]
    fn a_vm_is_worked_for_by_one_at_a_time_and_keeps_no_other_waiting() {
        let (said, says) = channel();
        let (end, ends) = channel();
        let (done, dones) = channel();
        let backends: Arc<[Box<dyn Backend>]> = Arc::new([Box::new(Slow(said, Mutex::new(ends)))]);
        let sink: Sink = Arc::new(move |input| match input {
            Input::HypervisorDone { op, .. } => done.send(op.0).unwrap(),
            other => panic!("{other:?}"),
        });
        let builders = Builders::spawn(&backends, &sink).unwrap();
        let patience = Duration::from_secs(20);
        builders.submit(task(1, Kind::Prepare, "slow"));
        assert_eq!(says.recv_timeout(patience).unwrap(), "slow begins");
        builders.submit(task(2, Kind::Prepare, "slow"));
        builders.submit(task(3, Kind::Prepare, "slow"));
        builders.submit(task(4, Kind::Purge, "slow"));
        assert!(builders.is_purging(&VmName::new("slow").unwrap()));
        builders.submit(task(5, Kind::Prepare, "quick"));
        assert_eq!(says.recv_timeout(patience).unwrap(), "quick begins");
        assert_eq!(dones.recv_timeout(patience).unwrap(), 5);
        assert!(says.try_recv().is_err(), "one at a time");
        for (op, said) in [(1, "slow begins"), (3, "slow is purged"), (4, "")] {
            if op != 4 {
                end.send(()).unwrap();
            }
            assert_eq!(dones.recv_timeout(patience).unwrap(), op, "the second was given up for the third");
            if !said.is_empty() {
                assert_eq!(says.recv_timeout(patience).unwrap(), said);
            }
        }
        assert!(!builders.is_purging(&VmName::new("slow").unwrap()));
    }
}
