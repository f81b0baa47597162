//! The people and places of a world, and how they belong together.

use super::words::{self, Pronoun, article, capitalised};
use crate::random::Draws;

const PEOPLE: usize = 32;
const PLACES: usize = 10;

/// The purposes for which a world draws random numbers, one sequence each.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    World = 1,
    Stories,
    Facts,
    Arithmetic,
    Instructions,
}

/// A person, with everything that is true of them.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) pronoun: Pronoun,
    /// Index of the place they live in.
    pub(super) home: usize,
    /// Index of their best friend, whose best friend they are.
    pub(super) friend: usize,
    pub(super) job: &'static str,
    pub(super) pet: &'static str,
    pub(super) pet_name: &'static str,
    pub(super) colour: &'static str,
    pub(super) food: &'static str,
    pub(super) hobby: &'static str,
}

/// A place, with what is true of it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) name: &'static str,
    pub(super) site: &'static str,
    pub(super) product: &'static str,
}

/// A small world made up from a seed: [`World::stories`], [`World::facts`], [`World::arithmetic`] and
/// [`World::instructions`] tell of it. The first `n` records of a kind are the same however many are asked for.
#[derive(Debug, Clone)]
pub struct World {
    pub(super) seed: u64,
    pub(super) people: Vec<Person>,
    pub(super) places: Vec<Place>,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        let mut draws = Draws::new(&[seed, Purpose::World as u64]);
        let mut names = words::NAMES;
        let mut pet_names = words::PET_NAMES;
        let mut place_names = words::PLACES;
        let mut sites = words::SITES;
        let mut products = words::PRODUCTS;
        draws.shuffle(&mut names);
        draws.shuffle(&mut pet_names);
        draws.shuffle(&mut place_names);
        draws.shuffle(&mut sites);
        draws.shuffle(&mut products);
        let places = (0..PLACES)
            .map(|index| Place {
                name: place_names[index],
                site: sites[index],
                product: products[index],
            })
            .collect();
        let people = (0..PEOPLE)
            .map(|index| Person {
                name: names[index].0,
                pronoun: names[index].1,
                home: draws.below(PLACES),
                friend: index ^ 1,
                job: one_of(&mut draws, &words::JOBS),
                pet: one_of(&mut draws, &words::PETS),
                pet_name: pet_names[index],
                colour: one_of(&mut draws, &words::COLOURS),
                food: one_of(&mut draws, &words::FOODS),
                hobby: one_of(&mut draws, &words::HOBBIES),
            })
            .collect();
        Self { seed, people, places }
    }

    /// The random numbers of the `index`-th record of a kind.
    pub(super) fn draws(&self, purpose: Purpose, index: usize, attempt: usize) -> Draws {
        Draws::new(&[self.seed, purpose as u64, index as u64, attempt as u64])
    }

    /// What template slots say of a person, under their plain names: `name`, `he`, `his`, `him`, `home`, …
    pub(super) fn person_slots(&self, person: &Person) -> Vec<(&'static str, String)> {
        let [he, his, him] = person.pronoun.forms();
        let home = &self.places[person.home];
        let friend = &self.people[person.friend];
        let [friend_he, friend_his, friend_him] = friend.pronoun.forms();
        [
            ("name", person.name),
            ("he", he),
            ("his", his),
            ("him", him),
            ("home", home.name),
            ("site", home.site),
            ("product", home.product),
            ("job", person.job),
            ("pet", person.pet),
            ("pet_name", person.pet_name),
            ("colour", person.colour),
            ("food", person.food),
            ("hobby", person.hobby),
            ("friend", friend.name),
            ("friend_he", friend_he),
            ("friend_his", friend_his),
            ("friend_him", friend_him),
        ]
        .into_iter()
        .map(|(slot, value)| (slot, value.to_owned()))
        .chain([
            ("a_job", with_article(person.job)),
            ("a_pet", with_article(person.pet)),
            ("friend_job", friend.job.to_owned()),
        ])
        .collect()
    }
}

/// A word with `a` or `an` before it.
pub(super) fn with_article(word: &str) -> String {
    format!("{} {word}", article(word))
}

/// One of a list.
pub(super) fn one_of<T: Copy>(draws: &mut Draws, list: &[T]) -> T {
    list[draws.below(list.len())]
}

/// The value of a slot; a slot whose name begins with a capital letter gives the value capitalised.
pub(super) fn slot(slots: &[(&'static str, String)], name: &str) -> Option<String> {
    let find = |name: &str| {
        slots
            .iter()
            .find(|(slot, _)| *slot == name)
            .map(|(_, value)| value.clone())
    };
    find(name).or_else(|| Some(capitalised(&find(&name.to_lowercase())?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn friends_are_mutual_and_names_unique() {
        let world = World::new(5);
        for (index, person) in world.people.iter().enumerate() {
            assert_eq!(world.people[person.friend].friend, index);
            assert_ne!(person.friend, index);
            assert_eq!(
                world
                    .people
                    .iter()
                    .filter(|other| other.name == person.name || other.pet_name == person.pet_name)
                    .count(),
                1
            );
        }
    }

    #[test]
    fn seeds_make_different_worlds() {
        let names = |seed| {
            World::new(seed)
                .people
                .iter()
                .map(|person| (person.name, person.home))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(1), names(1));
        assert_ne!(names(1), names(2));
    }
}
