//! Questions about the world and their answers.
//!
//! Every fact is asked in four ways, so a question held out from training is about a fact that training has seen asked
//! otherwise: what is measured is knowing, not the luck of the split.

use super::grammar::fill;
use super::world::{Purpose, World};
use crate::record::Record;

/// The ways to ask for something about a person, and the answer.
const PERSON: [([&str; 4], &str); 9] = [
    (
        [
            "Where does {name} live?",
            "Where is the home of {name}?",
            "In which village does {name} live?",
            "Where is {name} at home?",
        ],
        "{name} lives in {home}.",
    ),
    (
        [
            "What is the job of {name}?",
            "What does {name} do for a living?",
            "What work does {name} do?",
            "What is the trade of {name}?",
        ],
        "{name} is {a_job}.",
    ),
    (
        [
            "What pet does {name} have?",
            "Which animal lives with {name}?",
            "What kind of animal does {name} keep?",
            "What is the pet of {name}?",
        ],
        "{name} has {a_pet}.",
    ),
    (
        [
            "What is the name of the pet of {name}?",
            "What does {name} call {his} {pet}?",
            "How is the {pet} of {name} called?",
            "What is the {pet} of {name} called?",
        ],
        "The {pet} of {name} is called {pet_name}.",
    ),
    (
        [
            "Who does {pet_name} the {pet} belong to?",
            "Whose {pet} is {pet_name}?",
            "Who feeds {pet_name} the {pet}?",
            "Who is the owner of {pet_name}?",
        ],
        "{pet_name} belongs to {name}.",
    ),
    (
        [
            "Who is the best friend of {name}?",
            "Who is closest to {name}?",
            "Which friend does {name} like best?",
            "Who does {name} trust most?",
        ],
        "The best friend of {name} is {friend}.",
    ),
    (
        [
            "What is the favourite colour of {name}?",
            "Which colour does {name} like best?",
            "What colour does {name} love?",
            "Which colour would {name} choose?",
        ],
        "{name} likes {colour} best.",
    ),
    (
        [
            "What is the favourite food of {name}?",
            "What does {name} like to eat?",
            "Which food does {name} love?",
            "What would {name} like for dinner?",
        ],
        "{name} likes to eat {food}.",
    ),
    (
        [
            "What does {name} love to do?",
            "What is the hobby of {name}?",
            "What does {name} do for fun?",
            "How does {name} spend Sundays?",
        ],
        "{name} loves {hobby}.",
    ),
];

/// The same for a place.
const PLACE: [([&str; 4], &str); 2] = [
    (
        [
            "Where is {place}?",
            "Where does {place} lie?",
            "How do I find {place}?",
            "Where would I look for {place}?",
        ],
        "{place} lies {site}.",
    ),
    (
        [
            "What is {place} known for?",
            "What do people buy in {place}?",
            "What does {place} make?",
            "What comes from {place}?",
        ],
        "{place} is known for its {product}.",
    ),
];

impl World {
    /// `count` questions and answers in a random order. There are some 1,200; past that they come again in another order.
    pub fn facts(&self, count: usize) -> Vec<Record> {
        let all = self.all_facts();
        let mut records = Vec::with_capacity(count);
        let mut round = 0;
        while records.len() < count {
            let mut order: Vec<usize> = (0..all.len()).collect();
            self.draws(Purpose::Facts, round, 0).shuffle(&mut order);
            records.extend(
                order
                    .into_iter()
                    .take(count - records.len())
                    .map(|index| all[index].clone()),
            );
            round += 1;
        }
        records
    }

    fn all_facts(&self) -> Vec<Record> {
        let people = self
            .people
            .iter()
            .map(|person| (&PERSON[..], self.person_slots(person)));
        let places = self.places.iter().map(|place| {
            let slots = [
                ("place", place.name),
                ("site", place.site),
                ("product", place.product),
            ];
            (
                &PLACE[..],
                slots.map(|(slot, value)| (slot, value.to_owned())).to_vec(),
            )
        });
        let mut records = Vec::new();
        for (facts, slots) in people.chain(places) {
            for (questions, answer) in facts {
                for question in questions {
                    // These templates have no choices, so nothing is drawn.
                    let mut draws = self.draws(Purpose::Facts, 0, 0);
                    let question = fill(question, &slots, &mut draws);
                    let answer = fill(answer, &slots, &mut draws);
                    records.push(Record::Completion {
                        prompt: format!("Question: {question}\nAnswer:"),
                        completion: format!(" {answer}"),
                    });
                }
            }
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_question_is_asked_twice_in_a_round() {
        let world = World::new(3);
        let all = world.all_facts();
        let prompts: HashSet<_> = all
            .iter()
            .map(|record| match record {
                Record::Completion { prompt, .. } => prompt,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            prompts.len(),
            all.len(),
            "a question with two answers could not be learned"
        );
        assert_eq!(world.facts(all.len() + 5).len(), all.len() + 5);
    }
}
