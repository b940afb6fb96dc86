//! Whose turn it is: smooth weighted round robin over a split's instances, and over one release's for a client that stays with it.

use super::{
    instance::Instance,
    sticky::{self, Wish},
};
use std::sync::{Arc, Mutex};

/// The instances of a split that get new requests.
pub struct Table {
    slots: Vec<(Arc<Instance>, i64)>,
    turns: Mutex<Turns>,
}

struct Turns {
    all: Vec<i64>,
    /// The same within each release: its instances use their own places only.
    within: Vec<i64>,
}

impl Table {
    /// Returns a table from the beginning of its turns.
    pub fn of(slots: Vec<(Arc<Instance>, i64)>) -> Self {
        let none = || vec![0; slots.len()];
        let turns = Mutex::new(Turns { all: none(), within: none() });
        Table { slots, turns }
    }

    /// Returns whether it has no instance.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns whether it has this very instance.
    pub fn has(&self, instance: &Arc<Instance>) -> bool {
        self.slots.iter().any(|(other, _)| Arc::ptr_eq(other, instance))
    }

    /// Returns the instance whose turn it is, of the release that is wished for if it has one; those that drain are passed over.
    pub fn pick(&self, wish: &Wish) -> Option<Arc<Instance>> {
        let release = match wish {
            Wish::Any => None,
            Wish::Release(id) => Some(id.as_str()),
            Wish::Value(value) => sticky::rendezvous(value, self.releases().into_iter()),
        };
        let mut turns = self.turns.lock().expect("nothing panics here");
        let wished = release.and_then(|release| next_turn(&mut turns.within, self.weights(Some(release))));
        let index = wished.or_else(|| next_turn(&mut turns.all, self.weights(None)))?;
        Some(self.slots[index].0.clone())
    }

    /// Returns what each place weighs now, of one release or of all.
    fn weights<'a>(&'a self, release: Option<&'a str>) -> impl Iterator<Item = i64> + 'a {
        self.slots.iter().map(move |(instance, weight)| match instance.is_draining() {
            true => 0,
            false if release.is_some_and(|release| instance.release != release) => 0,
            false => *weight,
        })
    }

    /// Returns each release with the weight of all its instances.
    fn releases(&self) -> Vec<(&str, i64)> {
        let mut releases: Vec<(&str, i64)> = Vec::new();
        for (instance, weight) in self.slots.iter().filter(|(instance, _)| !instance.is_draining()) {
            match releases.iter_mut().find(|(release, _)| *release == instance.release) {
                Some((_, sum)) => *sum += weight,
                None => releases.push((&instance.release, *weight)),
            }
        }
        releases
    }
}

/// Returns whose turn it is, smoothly: 2:1 gives a b a, never a a b. A weight of 0 has no turn.
fn next_turn(turns: &mut [i64], weights: impl Iterator<Item = i64>) -> Option<usize> {
    let (mut total, mut best) = (0, None::<usize>);
    for (index, weight) in weights.enumerate().filter(|(_, weight)| *weight > 0) {
        turns[index] += weight;
        total += weight;
        if best.is_none_or(|best| turns[index] > turns[best]) {
            best = Some(index);
        }
    }
    turns[best?] -= total;
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlock_model::split::Share;
    use proptest::prelude::*;

    fn table(weights: &[(&str, &str, u32)]) -> Table {
        let slot = |(id, version, weight): &(&str, &str, u32)| {
            let address = ([127, 0, 0, 1], 1).into();
            let share = Share { instance: (*id).into(), address, version: (*version).into(), weight: *weight };
            (Arc::new(Instance::new(&share, Arc::default())), i64::from(*weight))
        };
        Table::of(weights.iter().map(slot).collect())
    }

    fn turn(table: &Table, wish: &Wish) -> String {
        table.pick(wish).unwrap().id.to_string()
    }

    #[test]
    fn turns_are_smooth_and_by_weight() {
        let mut turns = vec![0; 3];
        let order: Vec<_> = (0..8).map(|_| next_turn(&mut turns, [2, 0, 1].into_iter()).unwrap()).collect();
        assert_eq!(order, [0, 2, 0, 0, 2, 0, 0, 2]);
        // As nginx does it.
        let mut turns = vec![0; 3];
        let order: Vec<_> = (0..7).map(|_| next_turn(&mut turns, [5, 1, 1].into_iter()).unwrap()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(next_turn(&mut [0, 0], [0, 0].into_iter()), None);
        assert_eq!(next_turn(&mut [], [].into_iter()), None);
    }

    proptest! {
        /// From the beginning of the turns, every stretch of as many requests as the weights add up to gives each exactly its weight.
        #[test]
        fn every_window_gives_each_exactly_its_weight(weights in prop::collection::vec(0..40i64, 1..6), start in 0..200usize) {
            let sum: i64 = weights.iter().sum();
            prop_assume!(sum > 0);
            let mut turns = vec![0; weights.len()];
            let order: Vec<_> = (0..start + sum as usize).map(|_| next_turn(&mut turns, weights.iter().copied()).unwrap()).collect();
            let mut got = vec![0; weights.len()];
            order[start..].iter().for_each(|index| got[*index] += 1);
            prop_assert_eq!(got, weights);
        }
    }

    #[test]
    fn a_client_stays_with_its_release_while_that_has_a_weight() {
        let table = table(&[("a1", "1", 45), ("a2", "1", 45), ("b", "2", 10)]);
        let stays = Wish::Release(sticky::release_id("1"));
        assert_eq!((0..4).map(|_| turn(&table, &stays)).collect::<Vec<_>>(), ["a1", "a2", "a1", "a2"], "by turns within the release");
        assert_eq!(turn(&table, &Wish::Release(sticky::release_id("2"))), "b");
        let gone = Wish::Release(sticky::release_id("0"));
        let fresh: Vec<_> = (0..100).map(|_| turn(&table, &gone)).collect();
        assert_eq!(fresh.iter().filter(|id| *id == "b").count(), 10, "a release that is gone sends its clients on, by weight");
        table.slots[2].0.begin_drain();
        assert_ne!(turn(&table, &Wish::Release(sticky::release_id("2"))), "b");
    }

    #[test]
    fn a_value_leads_to_one_release() {
        let table = table(&[("a1", "1", 25), ("a2", "1", 25), ("b", "2", 50)]);
        let release = |value: u8| table.pick(&Wish::Value(vec![value])).unwrap().version.clone();
        assert!((0..100).all(|value| release(value) == release(value)));
        assert!((0..100).any(|value| release(value) == "1") && (0..100).any(|value| release(value) == "2"));
    }
}
