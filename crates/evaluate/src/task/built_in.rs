//! Tasks that need no file.

use super::question::{Task, TaskError};

/// A task that the program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// GSM8K with five examples.
    Gsm8k,
    /// GSM8K without examples.
    Gsm8kZeroShot,
    /// IFEval.
    Ifeval,
}

impl BuiltIn {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gsm8k, Self::Gsm8kZeroShot, Self::Ifeval];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gsm8k => "gsm8k",
            Self::Gsm8kZeroShot => "gsm8k_zero_shot",
            Self::Ifeval => "ifeval",
        }
    }

    /// The one of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name)
    }

    /// It as a file.
    pub fn text(self) -> &'static str {
        match self {
            Self::Gsm8k => include_str!("built_in/gsm8k.yaml"),
            Self::Gsm8kZeroShot => include_str!("built_in/gsm8k_zero_shot.yaml"),
            Self::Ifeval => include_str!("built_in/ifeval.yaml"),
        }
    }

    /// The task.
    ///
    /// # Errors
    /// None for the files above.
    pub fn task(self) -> Result<Task, TaskError> {
        Task::parse(self.text(), &mut |name| match Self::find(name) {
            Some(task) => Ok(task.text().to_owned()),
            None => Err(format!("no built-in task is called {name}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_one_can_be_used() {
        for built_in in BuiltIn::ALL {
            let task = built_in.task().unwrap();
            assert_eq!(task.name, built_in.name());
            assert_eq!(BuiltIn::find(&task.name), Some(built_in));
        }
        let row = json!({"question": "1 + 1?", "answer": "1 + 1 = 2\n#### 2"});
        let rows = vec![row.as_object().unwrap().clone(); 5];
        let gsm8k = BuiltIn::Gsm8k.task().unwrap();
        assert_eq!(gsm8k.exercise(&rows, Some(&rows), 3).unwrap().len(), 3);
        let error = gsm8k
            .exercise(&rows, Some(&rows[..4]), 3)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("first 5 rows of its split `train`, which has 4"),
            "{error}"
        );
    }
}
