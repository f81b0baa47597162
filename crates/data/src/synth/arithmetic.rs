//! Sums, differences and comparisons of numbers up to twenty, in digits, in words and as little scenes.

use super::words::{COUNTABLE, NUMBERS, capitalised};
use super::world::{Purpose, World, one_of};
use crate::record::Record;

/// No number in a problem or an answer is larger.
const LARGEST: usize = 20;

impl World {
    /// `count` problems with worked answers, no two alike while there are enough (digits alone make some 460; scenes, which
    /// are most of them, very many).
    pub fn arithmetic(&self, count: usize) -> Vec<Record> {
        super::grammar::distinct(count, |index, attempt| self.problem(index, attempt))
    }

    fn problem(&self, index: usize, attempt: usize) -> Record {
        let mut draws = self.draws(Purpose::Arithmetic, index, attempt);
        let adding = draws.chance(1, 2);
        // Sums up to twenty, each pair of parts equally likely; a difference is the same pair the other way round.
        let total = draws.between(2, LARGEST);
        let part = draws.between(1, total - 1);
        let other = total - part;
        let (left, right, result) = if adding {
            (part, other, total)
        } else {
            (total, part, other)
        };
        let (word, sign) = if adding { ("plus", '+') } else { ("minus", '-') };
        let sum = format!("{left} {sign} {right} = {result}");
        let person = &self.people[draws.below(self.people.len())];
        let friend = &self.people
            [(person.friend + 2 * draws.between(0, self.people.len() / 2 - 2)) % self.people.len()];
        let [he, his, him] = person.pronoun.forms();
        let (name, helper) = (person.name, friend.name);
        let things = one_of(&mut draws, &COUNTABLE);
        // The later choices are the larger families of problems, so they come more often: after a while the first two run dry.
        let (question, answer) = match if attempt < 2 {
            draws.below(10)
        } else {
            draws.between(2, 9)
        } {
            0 => (format!("What is {left} {word} {right}?"), format!("{sum}.")),
            1 => (
                format!("What is {} {word} {}?", NUMBERS[left], NUMBERS[right]),
                format!(
                    "{} {word} {} is {}.",
                    capitalised(NUMBERS[left]),
                    NUMBERS[right],
                    NUMBERS[result]
                ),
            ),
            2 | 3 if part != other => {
                let (more, most, least) = if part > other {
                    (name, part, other)
                } else {
                    (helper, other, part)
                };
                (
                    format!(
                        "{name} has {}. {helper} has {}. Who has more?",
                        some(part, things),
                        some(other, things)
                    ),
                    format!("{most} is more than {least}. {more} has more {things}."),
                )
            }
            choice if adding => {
                let scene = match choice {
                    2..=5 => format!(
                        "{name} has {}. {helper} gives {him} {right} more.",
                        some(left, things)
                    ),
                    6 | 7 => format!(
                        "{name} has {} and finds {right} more on the way home.",
                        some(left, things)
                    ),
                    _ => format!(
                        "In the basket of {name} there {}. {helper} puts in {right} more.",
                        are(left, things)
                    ),
                };
                (
                    format!("{scene} How many {things} are there now?"),
                    format!("{sum}. Now there {}.", are(result, things)),
                )
            }
            choice => {
                let scene = match choice {
                    2..=5 => {
                        format!(
                            "{name} has {}. {} gives {right} of them to {helper}.",
                            some(left, things),
                            capitalised(he)
                        )
                    }
                    6 | 7 => format!(
                        "{name} has {} and loses {right} on the way home.",
                        some(left, things)
                    ),
                    _ => format!(
                        "{name} has {} in {his} basket. {helper} takes out {right}.",
                        some(left, things)
                    ),
                };
                (
                    format!("{scene} How many {things} are left?"),
                    format!("{sum}. There {} left.", are(result, things)),
                )
            }
        };
        Record::Completion {
            prompt: format!("Problem: {question}\nSolution:"),
            completion: format!(" {answer}"),
        }
    }
}

/// `3 apples`, `1 apple`.
fn some(count: usize, things: &str) -> String {
    format!(
        "{count} {}",
        if count == 1 {
            things.trim_end_matches('s')
        } else {
            things
        }
    )
}

/// `are 3 apples`, `is 1 apple`.
fn are(count: usize, things: &str) -> String {
    format!(
        "{} {}",
        if count == 1 { "is" } else { "are" },
        some(count, things)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_equation_is_true() {
        let equation = regex::Regex::new(r"(\d+) ([+-]) (\d+) = (\d+)").unwrap();
        let mut checked = 0;
        for record in World::new(2).arithmetic(3000) {
            let Record::Completion { prompt, completion } = record else {
                panic!()
            };
            if let Some(found) = equation.captures(&completion) {
                let number = |group: usize| found[group].parse::<i64>().unwrap();
                let result = if &found[2] == "+" {
                    number(1) + number(3)
                } else {
                    number(1) - number(3)
                };
                assert_eq!(result, number(4), "{completion}");
                assert!(prompt.contains(&found[1]) && prompt.contains(&found[3]) && result <= 20);
                checked += 1;
            }
        }
        assert!(checked > 1500, "{checked}");
    }

    #[test]
    fn nobody_gives_to_themselves() {
        for record in World::new(2).arithmetic(3000) {
            let Record::Completion { prompt, .. } = record else {
                panic!()
            };
            let names = super::super::words::NAMES
                .iter()
                .filter(|(name, _)| prompt.contains(&format!("{name} ")))
                .count();
            assert!(names <= 2, "{prompt}");
            if let Some((giver, rest)) = prompt.split_once(" has ") {
                let giver = giver.trim_start_matches("Problem: ");
                assert!(
                    !rest.contains(&format!("{giver} ")) && !rest.contains(&format!("to {giver}.")),
                    "{prompt}"
                );
            }
        }
    }
}
