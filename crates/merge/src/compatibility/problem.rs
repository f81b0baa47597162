//! What does not fit, and in which models.

use std::fmt;

use tributary_tensorfile::printable;

/// One thing that differs between the models.
#[derive(Clone, Debug, PartialEq)]
pub struct Incompatibility {
    /// What it is about: `tensor model.norm.weight`, `config.json, hidden_size`.
    pub subject: String,
    /// What is wrong with it, a lower-case fragment.
    pub message: String,
    /// The value found and the models it was found in.
    pub found: Vec<(String, Vec<String>)>,
}

impl Incompatibility {
    /// Groups the models by what they have.
    pub(crate) fn new(
        subject: impl Into<String>,
        message: impl Into<String>,
        values: impl IntoIterator<Item = (String, String)>,
    ) -> Incompatibility {
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for (model, value) in values {
            match found.iter_mut().find(|(other, _)| *other == value) {
                Some((_, models)) => models.push(model),
                None => found.push((value, vec![model])),
            }
        }
        // Only now: values that differ late are different values.
        for (value, _) in &mut found {
            *value = printable(&value);
        }
        Incompatibility {
            subject: subject.into(),
            message: message.into(),
            found,
        }
    }
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)?;
        for (index, (value, models)) in self.found.iter().enumerate() {
            write!(
                f,
                "{} {value} in {}",
                if index == 0 { ":" } else { ";" },
                models.join(", ")
            )?;
        }
        Ok(())
    }
}

/// Everything that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Incompatibilities(pub Vec<Incompatibility>);

/// Lines shown of a long list; the rest is counted.
const SHOWN: usize = 30;

impl fmt::Display for Incompatibilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(
            f,
            "the models do not fit together ({count} {})",
            if count == 1 { "difference" } else { "differences" }
        )?;
        for difference in self.0.iter().take(SHOWN) {
            write!(f, "\n  {difference}")?;
        }
        if count > SHOWN {
            write!(f, "\n  ... and {} more", count - SHOWN)?;
        }
        Ok(())
    }
}
