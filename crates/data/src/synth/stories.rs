//! Short stories: an opening, what happens, and how it ends, each told in many ways.

use super::grammar::fill;
use super::words;
use super::world::{Purpose, World, one_of, with_article};
use crate::record::Record;

/// One plot a paragraph; lines of a paragraph are joined by spaces.
const PLOTS: &str = include_str!("plots.txt");

const OPENINGS: &str = "[One [fine|windy|rainy|cold|bright|foggy|warm] [morning|day|evening], |Early one morning, |Last [spring|summer|autumn|winter], |On market day, |One Sunday, |]";

const PEOPLE: &str = "[{name} was {a_job} [from|in] {home}.|In {home}, {site}, lived {a_job} called {name}.|{name} lived in {home} with {his} {pet} {pet_name}.|There was once {a_job} in {home} whose name was {name}.|{name} had {a_pet} called {pet_name} and lived in {home}.] [|{He} loved {hobby}.|{His} best friend was {friend}.|{Home} was known for its {product}.|Everyone in {home} liked {him}.|{His} favourite colour was {colour}.|{He} liked {food} more than anything.]";

impl World {
    /// `count` stories, no two alike, as running text of some 60 to 100 words.
    pub fn stories(&self, count: usize) -> Vec<Record> {
        super::grammar::distinct(count, |index, attempt| self.story(index, attempt))
    }

    fn story(&self, index: usize, attempt: usize) -> Record {
        let mut draws = self.draws(Purpose::Stories, index, attempt);
        let person = &self.people[draws.below(self.people.len())];
        let mut slots = self.person_slots(person);
        let object = one_of(&mut draws, &words::OBJECTS);
        let colour = one_of(&mut draws, &words::COLOURS);
        let animal = one_of(&mut draws, &words::PETS);
        let elsewhere = (person.home + 1 + draws.below(self.places.len() - 1)) % self.places.len();
        let place = &self.places[elsewhere];
        let (peril, remedy) = one_of(&mut draws, &words::PERILS);
        slots.extend([
            ("peril", peril.to_owned()),
            ("remedy", remedy.to_owned()),
            ("thing", format!("{colour} {object}")),
            ("a_thing", with_article(&format!("{colour} {object}"))),
            ("animal", animal.to_owned()),
            ("an_animal", with_article(animal)),
            ("place", place.name.to_owned()),
            ("place_site", place.site.to_owned()),
            ("place_product", place.product.to_owned()),
            ("number", words::NUMBERS[draws.between(2, 9)].to_owned()),
        ]);
        let plots: Vec<&str> = PLOTS
            .split("\n\n")
            .map(str::trim)
            .filter(|plot| !plot.is_empty())
            .collect();
        let plot = plots[draws.below(plots.len())].replace('\n', " ");
        let about = fill(PEOPLE, &slots, &mut draws);
        let opening = fill(OPENINGS, &slots, &mut draws);
        let told = fill(&plot, &slots, &mut draws);
        // An opening is part of the plot's first sentence, which begins with a name either way.
        Record::Text(tidy(&format!("{about} {opening}{told}")))
    }
}

/// Single spaces only: choices may be empty.
fn tidy(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
