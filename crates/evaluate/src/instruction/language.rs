//! In which language is a text?

use whatlang::{Detector, Lang};

/// A language by its code in ISO 639-1: those of the published checker.
const LANGUAGES: [(&str, Option<Lang>); 30] = [
    ("en", Some(Lang::Eng)),
    ("es", Some(Lang::Spa)),
    ("pt", Some(Lang::Por)),
    ("ar", Some(Lang::Ara)),
    ("hi", Some(Lang::Hin)),
    ("fr", Some(Lang::Fra)),
    ("ru", Some(Lang::Rus)),
    ("de", Some(Lang::Deu)),
    ("ja", Some(Lang::Jpn)),
    ("it", Some(Lang::Ita)),
    ("bn", Some(Lang::Ben)),
    ("uk", Some(Lang::Ukr)),
    ("th", Some(Lang::Tha)),
    ("ur", Some(Lang::Urd)),
    ("ta", Some(Lang::Tam)),
    ("te", Some(Lang::Tel)),
    ("bg", Some(Lang::Bul)),
    ("ko", Some(Lang::Kor)),
    ("pl", Some(Lang::Pol)),
    ("he", Some(Lang::Heb)),
    ("fa", Some(Lang::Pes)),
    ("vi", Some(Lang::Vie)),
    ("ne", Some(Lang::Nep)),
    ("sw", None),
    ("kn", Some(Lang::Kan)),
    ("mr", Some(Lang::Mar)),
    ("gu", Some(Lang::Guj)),
    ("pa", Some(Lang::Pan)),
    ("ml", Some(Lang::Mal)),
    ("fi", Some(Lang::Fin)),
];

/// A language that a text can be in: one that the detector knows, or Swahili, which it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Language(Option<Lang>);

impl Language {
    pub(super) const ENGLISH: Self = Self(Some(Lang::Eng));

    /// The language of a code.
    pub(super) fn of(code: &str) -> Option<Self> {
        let known = LANGUAGES.iter().find(|(known, _)| *known == code);
        known.map(|(_, language)| Self(*language))
    }

    /// Every code.
    pub(super) fn codes() -> [&'static str; 30] {
        LANGUAGES.map(|(code, _)| code)
    }

    /// Is the text in this language? Yes if it has no letters to tell from, as in the published checker. Where the detector is
    /// not sure, which a short text is enough for, only English is another language.
    pub(super) fn holds(self, text: &str) -> bool {
        let Some(found) = whatlang::detect(text) else {
            return true;
        };
        match self.0 {
            None => is_swahili(text),
            Some(_) if is_swahili(text) => false,
            Some(language) if found.is_reliable() => found.lang() == language,
            Some(language) => {
                let detector = Detector::with_allowlist(vec![language, Lang::Eng]);
                found.lang() == language || detector.detect_lang(text) == Some(language)
            }
        }
    }
}

/// The small words of Swahili that are not also frequent in another language.
const SWAHILI: &str = " na ya wa kwa ni za katika cha vya kama hii hiyo huu hizi hizo haya yake wake zake kuwa lakini sana pia hivyo watu \
    mimi wewe yeye sisi kutoka baada kabla bila ili kwamba ambao ambayo ambaye yangu wangu yako wako sio hakuna kila moja wao hapa \
    kuhusu zaidi vile mtu wengi nyingi ";

/// The share of the words that they are in Swahili at least.
const SHARE: f64 = 0.15;

/// Is the text in Swahili?
fn is_swahili(text: &str) -> bool {
    let (mut words, mut known) = (0, 0);
    for word in text
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
    {
        words += 1;
        let word = word.to_lowercase();
        known += usize::from(SWAHILI.split(' ').any(|listed| listed == word));
    }
    words > 0 && known as f64 >= SHARE * words as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(code: &str, text: &str) -> bool {
        Language::of(code).unwrap().holds(text)
    }

    #[test]
    fn a_text_is_in_its_language() {
        let german = "Der Hund lief durch den Wald und suchte seinen Stock, den er nicht mehr finden konnte.";
        assert!(holds("de", german) && !holds("en", german) && !holds("fr", german) && !holds("hi", german));
        let hindi = "मुझे आज बाज़ार जाना है और कुछ फल खरीदने हैं।";
        assert!(holds("hi", hindi) && !holds("en", hindi));
        let english =
            "the dog ran through the wood and looked for its stick, which it could not find any more.";
        assert!(holds("en", english) && holds("en", &english.to_uppercase()) && !holds("de", english));
    }

    #[test]
    fn swahili_is_known_by_its_small_words() {
        let swahili = "Watu wengi wanapenda kusoma vitabu kwa sababu ni njia nzuri ya kujifunza mambo mapya katika maisha.";
        assert!(holds("sw", swahili) && !holds("en", swahili) && !holds("fi", swahili));
        assert!(!holds(
            "sw",
            "Many people like to read books, for it is a good way to learn new things in life."
        ));
        assert!(!holds(
            "sw",
            "La casa de la abuela está cerca del mar, y la playa es muy bonita."
        ));
    }

    #[test]
    fn short_english_is_english() {
        for text in [
            "oceanfront estates",
            "yes.",
            "singing is life,\nchorus teacher's gentle voice,\ninspiring moms.",
        ] {
            assert!(holds("en", text), "{text}");
        }
    }

    #[test]
    fn no_letters_are_any_language() {
        assert!(holds("de", "1 + 1 = 2 !") && holds("sw", "42") && Language::of("xx").is_none());
    }
}
