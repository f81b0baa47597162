//! Which block of which tensor is done next.
//!
//! Tensors are opened in the order of the output, a few at a time, so that workers find blocks while the last ones of a
//! measurement are still under way. When a step's blocks are all done, its rule is asked for the next. A tensor that is
//! read more than once is held in memory between its passes if the budget has room for it, and read again if not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::block::Cut;
use super::buffers::{Ledger, Sizing};
use super::held::{Held, Pool};
use super::made::Made;
use super::tally::{Share, Tally};
use crate::error::{MergeError, Result};
use crate::method::{Measure, Measured, Rule, Step};

/// One tensor to be made or measured.
pub(super) struct Job<'a> {
    pub(super) name: &'a str,
    pub(super) cut: Cut,
    /// `None`: it is copied.
    pub(super) rule: Option<&'a dyn Rule>,
    /// Bytes that holding all inputs takes: whole buffers.
    pub(super) bytes: u64,
    /// Number of vectors of a Gram matrix, by [`Measure::Gram`]'s vectors.
    pub(super) vectors: fn(Measure, usize) -> usize,
    pub(super) inputs: usize,
}

impl Job<'_> {
    /// Is it read more than once, so that holding it saves reading?
    fn is_held(&self) -> bool {
        self.rule.is_some_and(|rule| rule.passes() > 1)
    }
}

/// A tensor in work: one step of it.
pub(super) struct Open {
    pub(super) tensor: usize,
    /// `None`: it is copied.
    pub(super) step: Option<Step>,
    /// What is measured in this step.
    pub(super) measure: Option<Measure>,
    pub(super) found: Vec<Measured>,
    tally: Mutex<Option<Tally>>,
    pub(super) held: Option<Arc<Held>>,
    /// Values written that are no finite numbers.
    pub(super) not_finite: AtomicU64,
}

pub(super) struct Claim {
    pub(super) open: Arc<Open>,
    pub(super) block: usize,
    slot: usize,
}

impl Claim {
    /// Tensor and block.
    pub(super) fn place(&self) -> (usize, usize) {
        (self.open.tensor, self.block)
    }
}

struct Slot {
    id: usize,
    open: Arc<Open>,
    next: usize,
    left: usize,
}

struct State {
    next_tensor: usize,
    next_id: usize,
    open: Vec<Slot>,
    held: u64,
    made: Vec<Made>,
    /// The earliest failure, by tensor and block.
    failure: Option<((usize, usize), MergeError)>,
}

/// The tensors of one pass over a merge.
pub(super) struct Queue<'a> {
    jobs: Vec<Job<'a>>,
    /// Measured while combining, where nothing else measures it.
    on_the_way: Option<Measure>,
    most_open: usize,
    hold: u64,
    waits_for_room: bool,
    ledger: &'a Ledger,
    /// Told of every tensor that is made.
    made: &'a (dyn Fn(usize, &Made) + Sync),
    pub(super) pool: Arc<Pool>,
    state: Mutex<State>,
    wake: Condvar,
}

impl<'a> Queue<'a> {
    /// As many tensors at a time, and as many bytes of inputs held between passes, as `sizing` says.
    pub(super) fn new(
        jobs: Vec<Job<'a>>,
        on_the_way: Option<Measure>,
        sizing: &Sizing,
        ledger: &'a Ledger,
        made: &'a (dyn Fn(usize, &Made) + Sync),
    ) -> Queue<'a> {
        let state = State {
            next_tensor: 0,
            next_id: 0,
            open: Vec::new(),
            held: 0,
            made: vec![Made::default(); jobs.len()],
            failure: None,
        };
        Queue {
            jobs,
            on_the_way,
            most_open: sizing.open.max(1),
            hold: sizing.hold,
            waits_for_room: sizing.waits_for_room,
            ledger,
            made,
            pool: Arc::new(Pool::new(sizing.buffer)),
            state: Mutex::new(state),
            wake: Condvar::new(),
        }
    }

    pub(super) fn job(&self, tensor: usize) -> Option<&Job<'a>> {
        self.jobs.get(tensor)
    }

    /// The next block to do; waits for one if there will be one. `None`: all is done, or something failed.
    pub(super) fn claim(&self) -> Option<Claim> {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() {
                return None;
            }
            let ready = state.open.iter_mut().find(|slot| {
                let blocks = self.jobs[slot.open.tensor].cut.blocks();
                slot.next < blocks
            });
            if let Some(slot) = ready {
                let claim = Claim {
                    open: Arc::clone(&slot.open),
                    block: slot.next,
                    slot: slot.id,
                };
                slot.next += 1;
                return Some(claim);
            }
            if state.next_tensor < self.jobs.len()
                && state.open.len() < self.most_open
                && !self.wants_room(&state)
            {
                let tensor = state.next_tensor;
                state.next_tensor += 1;
                self.open(&mut state, tensor);
                continue;
            }
            if state.open.is_empty() {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A block is done.
    pub(super) fn done(&self, claim: Claim, share: Share, counts: &[u32]) {
        let Claim { open, slot, .. } = claim;
        if let Some(tally) = open.tally.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            tally.add(share, counts);
        }
        // Before the block counts as done: whoever does the last one is to be the only one who still has the tensor.
        drop(open);
        let mut state = self.lock();
        let Some(at) = state.open.iter().position(|other| other.id == slot) else {
            return;
        };
        state.open[at].left -= 1;
        if state.open[at].left == 0 {
            let slot = state.open.remove(at);
            self.conclude(&mut state, slot.open, at);
            self.wake.notify_all();
        }
    }

    /// A block failed, by tensor and number: nobody gets another one.
    pub(super) fn fail(&self, place: (usize, usize), error: MergeError) {
        self.fail_at(&mut self.lock(), place, error);
        self.wake.notify_all();
    }

    fn fail_at(&self, state: &mut State, place: (usize, usize), error: MergeError) {
        // Several blocks may fail at once: the earliest one's error is reported.
        if state
            .failure
            .as_ref()
            .is_none_or(|(earliest, _)| place < *earliest)
        {
            state.failure = Some((place, error));
        }
    }

    /// What became of every tensor.
    pub(super) fn finish(self) -> Result<Vec<Made>> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.failure {
            Some((_, error)) => Err(error),
            None => Ok(state.made),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Would the next tensor fit into memory between its passes, once others have left?
    fn wants_room(&self, state: &State) -> bool {
        let left = self.hold.saturating_sub(state.held);
        let next = self.jobs.get(state.next_tensor);
        self.waits_for_room
            && next.is_some_and(|job| job.is_held() && left < job.bytes && job.bytes <= self.hold)
    }

    fn open(&self, state: &mut State, tensor: usize) {
        let job = &self.jobs[tensor];
        let is_held = job.is_held() && job.bytes <= self.hold.saturating_sub(state.held);
        let held = is_held.then(|| {
            state.held += job.bytes;
            self.ledger.add(job.bytes);
            Arc::new(Held::new(job.cut.blocks(), job.bytes, &self.pool))
        });
        let at = state.open.len();
        self.begin(state, tensor, Vec::new(), held, at);
    }

    /// Asks the rule for the step that follows from `found`, and makes its blocks available.
    fn begin(
        &self,
        state: &mut State,
        tensor: usize,
        found: Vec<Measured>,
        held: Option<Arc<Held>>,
        at: usize,
    ) {
        let job = &self.jobs[tensor];
        let step = match job.rule.map(|rule| rule.next(&found)).transpose() {
            Ok(step) => step,
            Err(reason) => {
                let tensor_name = job.name.to_string();
                let error = MergeError::Values {
                    tensor: tensor_name,
                    reason,
                };
                return self.fail_at(state, (tensor, 0), error);
            }
        };
        let measure = match &step {
            Some(Step::Measure(measure)) => Some(*measure),
            Some(Step::WeightedSum { .. } | Step::Combine) => self
                .on_the_way
                .filter(|_| !found.iter().any(|found| matches!(found, Measured::Gram(_)))),
            Some(Step::Done) | None => None,
        };
        let tally =
            measure.map(|measure| Tally::new(measure, job.cut.runs(), (job.vectors)(measure, job.inputs)));
        let is_done = step == Some(Step::Done);
        let open = Arc::new(Open {
            tensor,
            step,
            measure,
            found,
            tally: Mutex::new(tally),
            held,
            not_finite: AtomicU64::new(0),
        });
        if is_done || job.cut.blocks() == 0 {
            return self.conclude(state, open, at);
        }
        let id = state.next_id;
        state.next_id += 1;
        let slot = Slot {
            id,
            open,
            next: 0,
            left: job.cut.blocks(),
        };
        let at = at.min(state.open.len());
        state.open.insert(at, slot);
    }

    /// All blocks of a step are done: on to the next one, or to the end of the tensor.
    fn conclude(&self, state: &mut State, open: Arc<Open>, at: usize) {
        let mut found = open.found.clone();
        let tally = open.tally.lock().unwrap_or_else(PoisonError::into_inner).take();
        found.extend(tally.map(Tally::finish));
        if matches!(open.step, Some(Step::Measure(_))) {
            return self.begin(state, open.tensor, found, open.held.clone(), at);
        }
        state.made[open.tensor] = Made {
            gram: found.into_iter().find_map(|found| match found {
                Measured::Gram(gram) => Some(gram),
                _ => None,
            }),
            coefficients: match &open.step {
                Some(Step::WeightedSum { base, models }) => Some((*base, models.clone())),
                _ => None,
            },
            not_finite: open.not_finite.load(Ordering::Relaxed),
        };
        (self.made)(open.tensor, &state.made[open.tensor]);
        if let Some(rule) = self.jobs[open.tensor].rule {
            rule.forget();
        }
        if let Some(held) = &open.held {
            let bytes = held.bytes;
            // Its buffers are free before anybody else is promised their room.
            drop(open);
            state.held -= bytes;
            self.ledger.subtract(bytes);
        }
    }
}
