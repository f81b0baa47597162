//! The vocabulary of the little world: short, common words, so that a small tokenizer learns them whole.

/// How to speak of someone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pronoun {
    She,
    He,
}

impl Pronoun {
    /// Subject, possessive, object.
    pub(super) fn forms(self) -> [&'static str; 3] {
        match self {
            Self::She => ["she", "her", "her"],
            Self::He => ["he", "his", "him"],
        }
    }
}

use Pronoun::{He, She};

#[rustfmt::skip]
pub(super) const NAMES: [(&str, Pronoun); 44] = [
    ("Mia", She), ("Tom", He), ("Ada", She), ("Ben", He), ("Lily", She), ("Max", He), ("Nora", She),
    ("Finn", He), ("Rosa", She), ("Hugo", He), ("Emma", She), ("Otto", He), ("Ivy", She), ("Sam", He),
    ("Clara", She), ("Leo", He), ("Ruth", She), ("Noah", He), ("Anna", She), ("Paul", He), ("Zoe", She),
    ("Carl", He), ("Edith", She), ("Jack", He), ("Lucy", She), ("Karl", He), ("Maya", She), ("Theo", He),
    ("Ella", She), ("Rob", He), ("Jane", She), ("Peter", He), ("Amy", She), ("Simon", He), ("Kate", She),
    ("Oscar", He), ("Dora", She), ("Felix", He), ("Pia", She), ("Jonas", He), ("Vera", She), ("Arthur", He),
    ("Sue", She), ("Bill", He),
];

#[rustfmt::skip]
pub(super) const PLACES: [&str; 16] = [
    "Oakhill", "Greenford", "Stonebridge", "Maple Bay", "Foxdale", "Silverlake", "Windham", "Rosefield",
    "Millbrook", "Sandy Cove", "Pinewood", "Highmoor", "Redcliff", "Appleton", "Swanbury", "Thornhill",
];

#[rustfmt::skip]
pub(super) const SITES: [&str; 10] = [
    "by the river", "on a green hill", "near the forest", "by the sea", "beside a small lake",
    "at the foot of a mountain", "in a quiet valley", "between two fields", "at the old crossroads",
    "behind the dunes",
];

#[rustfmt::skip]
pub(super) const PRODUCTS: [&str; 10] = [
    "honey", "blue pots", "warm blankets", "white cheese", "red apples", "wooden toys", "silver bells",
    "fresh fish", "soft wool", "tall candles",
];

#[rustfmt::skip]
pub(super) const JOBS: [&str; 16] = [
    "baker", "fisher", "gardener", "weaver", "miller", "potter", "teacher", "carpenter", "shepherd",
    "clockmaker", "painter", "cook", "tailor", "doctor", "beekeeper", "musician",
];

#[rustfmt::skip]
pub(super) const PETS: [&str; 10] = [
    "cat", "dog", "rabbit", "goat", "pony", "hen", "duck", "donkey", "parrot", "mouse",
];

#[rustfmt::skip]
pub(super) const PET_NAMES: [&str; 40] = [
    "Pepper", "Biscuit", "Button", "Moss", "Pickle", "Hazel", "Pip", "Snow", "Ginger", "Bramble", "Socks",
    "Daisy", "Cloud", "Acorn", "Poppy", "Rusty", "Bean", "Juniper", "Toffee", "Plum", "Star", "Flint",
    "Muffin", "Wren", "Patch", "Honeybun", "Domino", "Bubbles", "Olive", "Sparrow", "Tulip", "Crumb",
    "Pebble", "Misty", "Nutmeg", "Sunny", "Tansy", "Bobbin", "Jam", "Whistle",
];

#[rustfmt::skip]
pub(super) const COLOURS: [&str; 8] = [
    "red", "blue", "green", "yellow", "white", "purple", "pink", "brown",
];

#[rustfmt::skip]
pub(super) const FOODS: [&str; 12] = [
    "plum cake", "onion soup", "apple pie", "pea soup", "fresh bread", "honey cake", "bean stew",
    "cheese pie", "roast corn", "rice pudding", "carrot stew", "berry jam",
];

#[rustfmt::skip]
pub(super) const HOBBIES: [&str; 12] = [
    "singing", "drawing", "swimming", "dancing", "reading", "flying kites", "playing chess",
    "telling jokes", "planting beans", "picking flowers", "watching stars", "climbing trees",
];

/// Things with a plural in -s, to own, lose, find, give and count.
#[rustfmt::skip]
pub(super) const OBJECTS: [&str; 20] = [
    "lamp", "book", "cup", "ball", "hat", "key", "drum", "basket", "coat", "spoon", "boat", "bell", "kite",
    "ring", "flute", "blanket", "mirror", "ladder", "button", "map",
];

/// What may happen to a village at night, and what its people do about it.
#[rustfmt::skip]
pub(super) const PERILS: [(&str, &str); 4] = [
    ("The river was rising higher and higher.", "They carried stones and sand until the rain was over."),
    ("There was a fire at the mill.", "They stood in a long row and passed buckets of water from hand to hand."),
    ("A great storm was coming.", "They shut every window and brought the animals into the barn, two by two."),
    ("The snow had broken the old bridge.", "They laid beams from bank to bank and tied them with ropes."),
];

/// Things to count.
#[rustfmt::skip]
pub(super) const COUNTABLE: [&str; 16] = [
    "apples", "pears", "plums", "nuts", "eggs", "shells", "buttons", "coins", "stones", "books", "cups",
    "carrots", "candles", "flowers", "cakes", "bells",
];

/// Single words for the instructions, by what they name.
#[rustfmt::skip]
pub(super) const WORDS: [(&str, &[&str]); 5] = [
    ("animals", &["cat", "dog", "rabbit", "goat", "pony", "hen", "duck", "donkey", "parrot", "mouse"]),
    ("colours", &["red", "blue", "green", "yellow", "white", "purple", "pink", "brown"]),
    ("things", &["lamp", "book", "cup", "ball", "hat", "key", "drum", "basket", "coat", "spoon", "boat", "bell", "kite", "ring"]),
    ("trades", &["baker", "fisher", "gardener", "weaver", "miller", "potter", "teacher", "carpenter", "shepherd", "painter"]),
    ("foods", &["bread", "cheese", "soup", "cake", "jam", "stew", "corn", "rice", "pie", "plums"]),
];

#[rustfmt::skip]
pub(super) const OPPOSITES: [(&str, &str); 14] = [
    ("hot", "cold"), ("big", "small"), ("old", "young"), ("wet", "dry"), ("fast", "slow"),
    ("light", "dark"), ("full", "empty"), ("happy", "sad"), ("loud", "quiet"), ("high", "low"),
    ("near", "far"), ("open", "closed"), ("soft", "hard"), ("early", "late"),
];

/// 0 to 20 in words.
#[rustfmt::skip]
pub(super) const NUMBERS: [&str; 21] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
];

/// `a` or `an` before a word.
pub(super) fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

/// The word with its first letter large.
pub(super) fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
