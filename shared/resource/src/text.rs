//! Text from people, with the same rules for all resources: the stored form, the refused characters, and the form for searches.
//!
//! The rules are those of PRECIS for names that people choose (RFC 8266). In addition, bidirectional controls are refused, because
//! they can make a name look like another one (Unicode Technical Report 36, section 2).

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::props::{BidiControl, DefaultIgnorableCodePoint, GeneralCategory, WhiteSpace};
use icu_properties::{CodePointMapData, CodePointSetData};

/// The longest search form, in bytes. A key of an index has at most 1,024 bytes, and an id follows the form:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>.
const SEARCH_FORM_BYTES_MAX: usize = 900;

/// The reason why a text is refused, as a text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Too short or too long. The number is the most characters allowed.
    #[error("must have 1 to {0} characters")]
    Length(usize),
    /// A control character, or a noncharacter that a queue does not carry (XML 1.0, section 2.2).
    #[error("must not contain control characters")]
    Control,
    /// A character that changes the direction of writing.
    #[error("must not contain characters that control the direction of text")]
    Direction,
    /// No visible character.
    #[error("must not be blank")]
    Blank,
}

/// Returns the stored form of a text: without white space around it, in Unicode's normalization form C.
pub fn kept(text: &str, chars_max: usize) -> Result<String, TextError> {
    let text = ComposingNormalizerBorrowed::new_nfc().normalize(text.trim()).into_owned();
    check_characters(&text)?;
    if text.chars().count() > chars_max {
        return Err(TextError::Length(chars_max));
    }
    match text.chars().any(is_visible) {
        true => Ok(text),
        false if text.is_empty() => Err(TextError::Length(chars_max)),
        false => Err(TextError::Blank),
    }
}

/// Refuses the beginning of a text if no valid text can begin with it.
pub fn check_beginning(text: &str, chars_max: usize) -> Result<(), TextError> {
    check_characters(text)?;
    match (1..=chars_max).contains(&text.trim_start().chars().count()) {
        true => Ok(()),
        false => Err(TextError::Length(chars_max)),
    }
}

/// Returns the form by which texts are found and sorted. Different spellings of a text have the same form.
///
/// ```
/// use resource::text::search_form;
///
/// // Upper and lower case, and both Unicode spellings of an accent.
/// assert_eq!(search_form("ZOË"), search_form("zoe\u{308}"));
/// // A list by the beginning of a name finds this one under `zo`.
/// assert!(search_form("Zoë Brown").starts_with(&search_form("ZO")));
/// assert_ne!(search_form("Zoë"), search_form("Zoe"));
/// ```
///
/// The form of a beginning is a beginning of the form. Normalization form KD separates letters from their marks, and case
/// folding works letter by letter. The form is cut at 900 bytes.
#[must_use]
pub fn search_form(text: &str) -> String {
    let decomposing = DecomposingNormalizerBorrowed::new_nfkd();
    let apart = decomposing.normalize(text);
    let folded = CaseMapper::new().fold_string(&apart);
    // Some marks decompose into a space and a combining mark, so the form may begin with a space.
    let mut form = decomposing.normalize(&folded).trim_start().to_owned();
    form.truncate(form.floor_char_boundary(SEARCH_FORM_BYTES_MAX));
    form
}

/// Joins words for a sentence, for example `a, b and c`.
#[must_use]
pub fn listed(words: &[String], conjunction: &str) -> String {
    match words.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} {conjunction} {last}", others.join(", ")),
        _ => words.concat(),
    }
}

fn check_characters(text: &str) -> Result<(), TextError> {
    if text.chars().any(|c| c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}')) {
        return Err(TextError::Control);
    }
    if text.chars().any(|c| CodePointSetData::new::<BidiControl>().contains(c)) {
        return Err(TextError::Direction);
    }
    Ok(())
}

fn is_visible(c: char) -> bool {
    let is_format = CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::Format;
    let is_blank = CodePointSetData::new::<WhiteSpace>().contains(c)
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        // The empty Braille pattern, which Unicode counts as a symbol.
        || c == '\u{2800}';
    !is_format && !is_blank
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_kept_composed_and_without_white_space_around_it() {
        for (given, due) in
            [("Zoe\u{308}", "Zoë"), (" Ada \u{3000}", "Ada"), ("Ada  Lovelace", "Ada  Lovelace"), ("李", "李")]
        {
            assert_eq!(kept(given, 100).as_deref(), Ok(due));
        }
    }

    #[test]
    fn invisible_and_direction_changing_characters_are_refused() {
        for (wrong, why) in [
            ("", TextError::Length(5)),
            ("  ", TextError::Length(5)),
            ("\u{200B}\u{200D}", TextError::Blank),
            ("\u{3164}", TextError::Blank),
            ("\u{2800} \u{AD}", TextError::Blank),
            ("a\u{0}b", TextError::Control),
            ("a\nb", TextError::Control),
            ("a\u{85}b", TextError::Control),
            ("a\u{FFFF}b", TextError::Control),
            ("a\u{202E}b", TextError::Direction),
            ("\u{200F}a", TextError::Direction),
            ("a\u{2066}b", TextError::Direction),
            ("sixsix", TextError::Length(5)),
        ] {
            assert_eq!(kept(wrong, 5), Err(why), "{wrong:?}");
        }
        // The emoji of a family is one picture of several, joined by invisible characters.
        assert!(kept("👨\u{200D}👩\u{200D}👧", 5).is_ok());
    }

    #[test]
    fn texts_that_people_type_in_different_ways_are_found_alike() {
        for (one, other) in [
            ("Zoë", "ZOE\u{308}"),
            ("Straße", "STRASSE"),
            ("ΟΔΟΣ", "οδος"),
            ("ﬁsh", "FISH"),
            ("Ａｄａ", "ada"),
            ("①", "1"),
        ] {
            assert_eq!(search_form(one), search_form(other));
        }
        assert!(search_form("Zoë").starts_with(&search_form("Zoe")), "a search without the mark finds the name");
        assert!(search_form("ΟΔΟΣΣΑ").starts_with(&search_form("οδος")));
        assert_ne!(search_form("Zoë"), search_form("Zoe"));
    }

    #[test]
    fn no_search_form_is_longer_than_a_key_may_be() {
        // One character that decomposes into eighteen.
        let longest = search_form(&"\u{FDFA}".repeat(100));
        assert!(longest.len() <= SEARCH_FORM_BYTES_MAX && longest.len() > SEARCH_FORM_BYTES_MAX - 4);
        assert!(longest.starts_with(&search_form("\u{FDFA}\u{FDFA}")));
    }

    proptest! {
        #[test]
        fn every_beginning_of_a_text_in_any_case_finds_it(
            text in "[^\\pC\\pZ\\pM]\\PC{0,40}|[ΑΟΔΣςσßİıſẞǅ. ]{1,8}", length in 1..40usize,
        ) {
            let Ok(text) = kept(&text, 100) else { return Ok(()) };
            let chars: Vec<_> = text.chars().collect();
            let length = length.min(chars.len());
            // A mark belongs to the letter before it, so a search that includes the letter includes the mark as well.
            prop_assume!(!chars.get(length).copied().is_some_and(is_mark));
            let beginning: String = chars[..length].iter().collect();
            for typed in [beginning.clone(), beginning.to_lowercase()] {
                prop_assert!(search_form(&text).starts_with(&search_form(&typed)), "{:?} {:?}", text, typed);
            }
        }

        #[test]
        fn a_text_that_is_kept_is_kept_as_it_is(text in any::<String>()) {
            if let Ok(text) = kept(&text, 100) {
                prop_assert_eq!(kept(&text, 100), Ok(text.clone()));
                prop_assert_eq!(search_form(&search_form(&text)), search_form(&text));
            }
        }
    }

    fn is_mark(c: char) -> bool {
        use GeneralCategory::{EnclosingMark, NonspacingMark, SpacingMark};
        matches!(CodePointMapData::<GeneralCategory>::new().get(c), EnclosingMark | NonspacingMark | SpacingMark)
    }
}
